{{/* Services: the ports of all, and those that lead to one track. */}}

{{/* Of what is said to speak HTTP, load balancers of clouds ask `GET /`, which is no question for these ports. */}}
{{- define "lapis.service.ports" -}}
{{- $isBalanced := eq .Values.service.type "LoadBalancer" -}}
- name: grpc
  port: {{ .Values.service.port }}
  targetPort: grpc
  {{- if not (and $isBalanced .Values.tls.enabled) }}
  appProtocol: {{ .Values.tls.enabled | ternary "https" "kubernetes.io/h2c" }}
  {{- end }}
- name: http
  port: {{ .Values.service.httpPort }}
  targetPort: http
  {{- if not $isBalanced }}
  appProtocol: http
  {{- end }}
{{- end -}}

{{- define "lapis.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "lapis.trackname" . }}
  labels:
    {{- include "lapis.labels" .root | nindent 4 }}
    lapis/track: {{ .track }}
  {{- with .root.Values.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ eq .track "canary" | ternary "ClusterIP" .root.Values.service.type }}
  selector:
    {{- include "lapis.trackselector" . | nindent 4 }}
  ports:
    {{- include "lapis.service.ports" .root | nindent 4 }}
{{- end -}}
