{{/*
The PromQL behind scaling.

Busy lanes tell neither that there is more to do than can be done, nor that fuller batches would do it: a GPU that runs
one picture at a time looks full. So what counts is the work, at what a picture costs in the best batches: what was done,
and what there was no room for. The measure has no ceiling, and ten times the load asks for ten times the replicas.
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
(
  sum(rate(lapis_engine_work_seconds_total{ {{- $release }}}[{{ $window }}]))
  + sum(rate(lapis_unmet_work_seconds_total{ {{- $release }}}[{{ $window }}]))
)
/ avg(lapis_engine_lanes{ {{- $release }}} > 0)
{{- end -}}

{{/* Seconds that 95 of 100 requests wait for the engine at most; 0 while there are none, and nothing where nobody is. */}}
{{- define "lapis.promql.queue" -}}
{{- $release := include "lapis.promql.release" . -}}
histogram_quantile(0.95, sum by (le) (rate(lapis_stage_seconds_bucket{ {{- $release }},stage="queue"}[{{ include "lapis.promql.window" . }}]))) >= 0
or 0 * sum(lapis_engine_lanes{ {{- $release -}} })
{{- end -}}
