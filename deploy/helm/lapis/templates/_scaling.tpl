{{/* How fast replicas come and go, alike for both ways of scaling. */}}

{{- define "lapis.scaling.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleUpWindow }}
  selectPolicy: Max
  policies:
    {{- /* Whatever is asked for at once: the measure already says how much that is. */}}
    - {type: Percent, value: 900, periodSeconds: 60}
    - {type: Pods, value: 4, periodSeconds: 60}
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownWindow }}
  selectPolicy: Max
  policies:
    - {type: Percent, value: 25, periodSeconds: 60}
    - {type: Pods, value: 1, periodSeconds: 60}
{{- end -}}

{{/* Without data nothing is known, and nothing is to be changed: that is an error to KEDA, and not a 0. */}}
{{- define "lapis.scaling.trigger" -}}
{{- $keda := .root.Values.autoscaling.keda -}}
- type: prometheus
  metricType: {{ .type }}
  metadata:
    serverAddress: {{ $keda.prometheus }}
    threshold: {{ .target | quote }}
    {{- with $keda.authModes }}
    authModes: {{ . }}
    {{- end }}
    ignoreNullValues: "false"
    query: |-
      {{- .query | nindent 6 }}
  {{- with $keda.authentication }}
  authenticationRef:
    name: {{ . }}
  {{- end }}
{{- end -}}

{{/* The HPA knows PromQL by the names of recording rules, which prometheus-adapter exposes. */}}
{{- define "lapis.scaling.rules" -}}
- name: lapis-scaling
  rules:
    {{- if float64 .Values.autoscaling.busy.target }}
    - record: lapis:demand:replicas
      labels: {namespace: {{ .Release.Namespace }}, job: {{ include "lapis.fullname" . }}}
      expr: |-
        {{- include "lapis.promql.busy" . | nindent 8 }}
    {{- end }}
    {{- if float64 .Values.autoscaling.queue.target }}
    - record: lapis:queue_seconds:p95
      labels: {namespace: {{ .Release.Namespace }}, job: {{ include "lapis.fullname" . }}}
      expr: |-
        {{- include "lapis.promql.queue" . | nindent 8 }}
    {{- end }}
{{- end -}}
