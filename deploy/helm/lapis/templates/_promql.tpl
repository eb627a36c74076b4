{{/*
The PromQL behind scaling.

Busy lanes alone never tell of more than that all are busy. So the work of what was refused for want of room counts as
well, at what a picture costs just then: the measure has no ceiling, and ten times the load asks for ten times the
replicas at once.
*/}}

{{- define "lapis.promql.release" -}}
namespace={{ .Release.Namespace | quote }},job={{ include "lapis.fullname" . | quote }},track="stable"
{{- end -}}

{{/* At least four scrapes, so that a rate is there although one failed. */}}
{{- define "lapis.promql.window" -}}
{{ max 60 (mul 4 (int .Values.monitoring.interval)) }}s
{{- end -}}

{{/* Replicas' worth of work that comes in. One that is still loading has no lanes yet, and must not make the others look small. */}}
{{- define "lapis.promql.busy" -}}
{{- $release := include "lapis.promql.release" . -}}
{{- $window := include "lapis.promql.window" . -}}
{{- $busy := printf "sum by (model, version) (rate(lapis_engine_busy_seconds_total{%s}[%s]))" $release $window -}}
{{- $refused := printf "sum by (model, version) (rate(lapis_refused_requests_total{%s,reason=~\"QUEUE_FULL|DEADLINE_UNREACHABLE\"}[%s]))" $release $window -}}
{{- $rows := printf "sum by (model, version) (rate(lapis_batch_size_sum{%s}[%s]))" $release $window -}}
sum(
  {{ $busy }}
  * (1 + {{ $refused }} / ({{ $rows }} > 0))
  or {{ $busy }}
)
/ scalar(avg(lapis_engine_lanes{ {{- $release -}} } > 0))
{{- end -}}

{{/* Seconds that 95 of 100 requests wait for the engine at most; 0 while there are none, and nothing where nobody is. */}}
{{- define "lapis.promql.queue" -}}
{{- $release := include "lapis.promql.release" . -}}
histogram_quantile(0.95, sum by (le) (rate(lapis_stage_seconds_bucket{ {{- $release }},stage="queue"}[{{ include "lapis.promql.window" . }}]))) >= 0
or 0 * sum(lapis_engine_lanes{ {{- $release -}} })
{{- end -}}
