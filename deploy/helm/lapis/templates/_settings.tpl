{{/* The settings file of a track: the user's, and of those that follow from other values the ones that are needed. */}}

{{/* Settings that other values set, each with that value's name. */}}
{{- define "lapis.settings.owned" -}}
config: the chart itself
models: model.source
default_model: model.default
port: the chart itself (service.port is the Service's)
http_port: the chart itself (service.httpPort is the Service's)
devices: accelerator.kind, accelerator.count and accelerator.tensorrt.enabled
tensorrt_fp16: accelerator.tensorrt.fp16
engine_cache: accelerator.engineCache.enabled
grace_period: rollout.drainSeconds
max_connection_age: rollout.connectionAge
max_connection_age_grace: rollout.drainSeconds
tls_certificate: tls.secretName or tls.certManager
tls_key: tls.secretName or tls.certManager
tls_client_ca: tls.clientCASecretName
tokens: tokens.secretName
{{- end -}}

{{- define "lapis.settings.given" -}}
{{- $settings := deepCopy (.root.Values.settings | default dict) -}}
{{- if eq .track "canary" -}}
{{- range $name, $value := .root.Values.canary.settings -}}
{{- $_ := set $settings $name $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/*
Seconds for requests in hand. Of a ServingRuntime's pod nobody but its InferenceService can set the grace period, which
is 30 seconds by itself.
*/}}
{{- define "lapis.drainseconds" -}}
{{- $rollout := .Values.rollout -}}
{{- if eq .Values.kserve.kind "servingRuntime" -}}
{{- min (int $rollout.drainSeconds) (sub 28 (int $rollout.endpointDelay) | int) -}}
{{- else -}}
{{- int $rollout.drainSeconds -}}
{{- end -}}
{{- end -}}

{{- define "lapis.settings" -}}
{{- $settings := omit (include "lapis.settings.given" . | fromYaml) "host" "http_host" -}}
{{- $values := .root.Values -}}
{{- $drain := include "lapis.drainseconds" .root | int -}}
{{- $_ := set $settings "grace_period" $drain -}}
{{- if $values.rollout.connectionAge -}}
{{- $_ := set $settings "max_connection_age" $values.rollout.connectionAge -}}
{{- $_ := set $settings "max_connection_age_grace" $drain -}}
{{- end -}}
{{- with (include "lapis.model" . | fromYaml).default -}}
{{- $_ := set $settings "default_model" . -}}
{{- end -}}
{{- if $values.accelerator.tensorrt.fp16 -}}
{{- $_ := set $settings "tensorrt_fp16" true -}}
{{- end -}}
{{- if $values.accelerator.engineCache.enabled -}}
{{- $_ := set $settings "engine_cache" "/var/cache/lapis" -}}
{{- end -}}
{{- if $values.tls.enabled -}}
{{- $_ := set $settings "tls_certificate" "/etc/lapis-tls/tls.crt" -}}
{{- $_ := set $settings "tls_key" "/etc/lapis-tls/tls.key" -}}
{{- if $values.tls.clientCASecretName -}}
{{- $_ := set $settings "tls_client_ca" "/etc/lapis-client-ca/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- if $values.tokens.secretName -}}
{{- $_ := set $settings "tokens" "/etc/lapis-tokens/tokens" -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{- define "lapis.settings.configmap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "lapis.settings.name" . }}
  labels:
    {{- include "lapis.labels" .root | nindent 4 }}
data:
  lapis.yaml: |
    {{- include "lapis.settings" . | nindent 4 }}
{{- end -}}

{{- define "lapis.settings.name" -}}
{{- include "lapis.fullname" .root }}-settings{{ eq .track "canary" | ternary "-canary" "" -}}
{{- end -}}

{{/*
Flags for what the image says by its environment, which would win over the file: where the models are, where the server
listens, and what it computes on.
*/}}
{{- define "lapis.args" -}}
{{- $given := include "lapis.settings.given" . | fromYaml -}}
- --config=/etc/lapis/lapis.yaml
- "--models={{ .models | default "/models" }}"
- --devices={{ include "lapis.accelerator.devices" .root }}
- "--host={{ $given.host | default "0.0.0.0" }}"
- "--http-host={{ $given.http_host | default $given.host | default "0.0.0.0" }}"
{{- end -}}
