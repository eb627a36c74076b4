{{/* What monitors have in common: the labels by which rules, dashboard and scaling know a release. */}}

{{- define "lapis.monitor.endpoint" -}}
port: http
path: /metrics
interval: {{ .Values.monitoring.interval }}s
scrapeTimeout: {{ min 10 (int .Values.monitoring.interval) }}s
relabelings:
  - {action: replace, targetLabel: job, replacement: {{ include "lapis.fullname" . }}}
  - {action: replace, sourceLabels: [__meta_kubernetes_pod_label_lapis_track], targetLabel: track}
{{- end -}}
