{{/*
Probes, each about a health service of its own, and the end of a pod. The kubelet speaks no TLS in gRPC probes: with TLS
the same three questions go over HTTP.
*/}}

{{- define "lapis.probes" -}}
startupProbe:
  {{- include "lapis.probe" (dict "root" .root "service" "startup" "path" "/startupz") | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: {{ divf .root.Values.rollout.startupSeconds 5 | ceil | int | max 1 }}
readinessProbe:
  {{- include "lapis.probe" (dict "root" .root "service" "readiness" "path" "/readyz") | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  {{- include "lapis.probe" (dict "root" .root "service" "liveness" "path" "/livez") | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{- define "lapis.probe" -}}
{{- if .root.Values.tls.enabled -}}
httpGet:
  path: {{ .path }}
  port: http
{{- else -}}
grpc:
  port: 50051
  service: {{ .service }}
{{- end -}}
{{- end -}}

{{/*
The replica goes on taking calls until every client has heard that it leaves. Kubernetes sleeps by itself from 1.30 on;
before, Python does, as the image has no shell.
*/}}
{{- define "lapis.lifecycle" -}}
{{- $seconds := int .Values.rollout.endpointDelay -}}
{{- if $seconds -}}
lifecycle:
  preStop:
    {{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
    sleep:
      seconds: {{ $seconds }}
    {{- else }}
    exec:
      command: [python3, -c, "import time; time.sleep({{ $seconds }})"]
    {{- end }}
{{- end -}}
{{- end -}}

{{/* The delay, the requests in hand, and 5 seconds for what the process does besides. */}}
{{- define "lapis.graceseconds" -}}
{{- add (int .Values.rollout.endpointDelay) (int .Values.rollout.drainSeconds) 5 -}}
{{- end -}}
