{{/* What NOTES.txt says of certificates, tokens, and what somebody should know before he goes on. */}}

{{- define "lapis.notes.token" -}}
{{- if .Values.tokens.secretName }} --token "$TOKEN"{{ end -}}
{{- end -}}

{{- define "lapis.notes.access" -}}
{{- if .Values.tls.enabled }} --ca ca.crt{{ end -}}
{{- if and .Values.tls.enabled .Values.tls.clientCASecretName }} --certificate tls.crt --key tls.key{{ end -}}
{{- include "lapis.notes.token" . -}}
{{- end -}}

{{- define "lapis.notes.authority" -}}
{{- if .Values.tls.enabled -}}
kubectl -n {{ .Release.Namespace }} get secret {{ include "lapis.tls.secret" . }} -o jsonpath='{.data.ca\.crt}' | base64 -d > ca.crt
{{- end -}}
{{- end -}}

{{- define "lapis.notes.header" -}}
{{- $pairs := list -}}
{{- range $name, $value := .Values.canary.header -}}
{{- $pairs = append $pairs (printf "%s: %s" $name $value) -}}
{{- end -}}
{{- join ", " $pairs -}}
{{- end -}}

{{- define "lapis.notes.cautions" -}}
{{- if and .Values.tokens.secretName (not .Values.tls.enabled) }}
- tokens go in clear between pods; tls.enabled encrypts them.
{{- end }}
{{- if and (eq (include "lapis.callers.kind" .) "anyone") (not .Values.tokens.secretName) (not .Values.tls.clientCASecretName) }}
- whoever reaches the {{ .Values.service.type }} may call; tokens.secretName or tls.clientCASecretName asks who it is.
{{- end }}
{{- if and .Values.tls.enabled (not .Values.tls.certManager.enabled) }}
- the certificate in {{ .Values.tls.secretName }} must have its authority in `ca.crt`, and name the hosts that callers use, as `{{ include "lapis.fullname" . }}-headless.{{ .Release.Namespace }}.svc`, and `localhost` for the port-forward above.
{{- end }}
{{- if .Values.tls.certManager.enabled }}
- the certificate names the Services; add `localhost` to tls.certManager.dnsNames for the port-forward above.
{{- end }}
{{- if and .Values.gateway.enabled .Values.tls.enabled (not .Values.gateway.backendTLS.authority) }}
- the replicas speak TLS, which the Gateway must be told; gateway.backendTLS.authority makes a BackendTLSPolicy.
{{- end }}
{{- if and (or .Values.gateway.enabled .Values.ingress.enabled) .Values.tls.enabled .Values.tls.clientCASecretName }}
- the replicas ask callers for a certificate (tls.clientCASecretName), and who comes in from outside is the {{ .Values.gateway.enabled | ternary "Gateway" "Ingress" }}, which must be given one to show in its own way.
{{- end }}
{{- if eq .Values.autoscaling.kind "hpa" }}
- the HorizontalPodAutoscaler reads recording rules as external metrics; prometheus-adapter exposes them with deploy/prometheus-adapter.yaml.
{{- end }}
{{- if and (ne .Values.autoscaling.kind "none") (eq .Values.monitoring.monitor "none") }}
- scaling asks Prometheus, and with monitoring.monitor none nothing here has it scrape the replicas.
{{- end }}
{{- if and .Values.canary.enabled (not .Values.gateway.enabled) }}
- without a Gateway no call goes to the canary but those sent to {{ include "lapis.trackname" (dict "root" . "track" "canary") }} itself.
{{- end }}
{{- if and (include "lapis.imagevolumes" .) (semverCompare "<1.35.0-0" .Capabilities.KubeVersion.Version) }}
- pods mount images by themselves from Kubernetes 1.35 on; {{ .Capabilities.KubeVersion.Version }} needs the feature gate ImageVolume.
{{- end }}
{{- if and (eq .Values.model.source "download") (not .Values.model.download.sha256) }}
- model.download.sha256 is empty, so replicas take whatever the URL holds when they start.
{{- end }}
{{- end -}}
