{{/* What the rules in files/rules need to know of the release. */}}

{{- define "lapis.rules.facts" -}}
{{- $rules := .Values.monitoring.rules -}}
namespace: {{ .Release.Namespace | quote }}
job: {{ include "lapis.fullname" . | quote }}
release: {{ printf "namespace=%q,job=%q" .Release.Namespace (include "lapis.fullname" .) | quote }}
{{- /* Calls that translate; the others are administration, too quick to be told together with them. */}}
translations: 'method=~"Translate|TranslateStream"'
{{- /* Whose fault an outcome is. What is in none of these lists is the caller's own affair. */}}
ours: DATA_LOSS|INTERNAL|UNAVAILABLE|UNKNOWN
tried: OK|DATA_LOSS|INTERNAL|UNAVAILABLE|UNKNOWN|RESOURCE_EXHAUSTED|DEADLINE_EXCEEDED
overload: OVERLOADED|QUEUE_FULL|DEADLINE_UNREACHABLE
availability: {{ $rules.availability | toString | quote }}
errorBudget: {{ subf 1.0 (float64 $rules.availability) | toString | quote }}
latencySeconds: {{ $rules.latencySeconds | toString | quote }}
queueSeconds: {{ float64 .Values.autoscaling.queue.target | default (divf (float64 $rules.latencySeconds) 2.0) | toString | quote }}
startupSeconds: {{ max 300 (.Values.rollout.startupSeconds | int) }}
provider: {{ .Values.accelerator.tensorrt.enabled | ternary "TensorrtExecutionProvider" "CUDAExecutionProvider|TensorrtExecutionProvider" }}
isGpu: {{ ne .Values.accelerator.kind "cpu" }}
isCanary: {{ .Values.canary.enabled }}
tracks: stable{{ and .Values.canary.enabled (gt (int .Values.canary.replicas) 0) | ternary "|canary" "" }}
deployments: {{ include "lapis.rules.deployments" . | quote }}
isScaled: {{ ne .Values.autoscaling.kind "none" }}
isKeda: {{ eq .Values.autoscaling.kind "keda" }}
autoscaler: {{ eq .Values.autoscaling.kind "keda" | ternary "keda-hpa-" "" }}{{ include "lapis.fullname" . }}
{{- /* How long KEDA's errors are counted, at least four of its looks, and how many looks half of that time has. */}}
{{- $seconds := max 300 (mul 4 (int .Values.autoscaling.keda.pollingInterval)) }}
kedaSeconds: {{ $seconds }}
kedaErrors: {{ divf $seconds (mul 2 (int .Values.autoscaling.keda.pollingInterval)) | toString | quote }}
fallbackReplicas: {{ .Values.autoscaling.keda.fallbackReplicas | int }}
maxReplicas: {{ .Values.autoscaling.maxReplicas | int }}
busyTarget: {{ float64 .Values.autoscaling.busy.target | default 0.7 | toString | quote }}
isTls: {{ .Values.tls.enabled }}
certificate: {{ and .Values.tls.enabled .Values.tls.certManager.enabled | ternary (printf "%s-tls" (include "lapis.fullname" .)) "" | quote }}
bounds:
  {{- include "lapis.rules.bounds" (dict "root" . "track" "stable") | nindent 2 }}
  {{- if .Values.canary.enabled }}
  {{- include "lapis.rules.bounds" (dict "root" . "track" "canary") | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The Deployments of the release, as a pattern; empty where KServe names them by a model that is not known here. */}}
{{- define "lapis.rules.deployments" -}}
{{- $full := include "lapis.fullname" . -}}
{{- if eq .Values.kserve.kind "inferenceService" -}}
{{ $full }}-predictor
{{- else if eq .Values.kserve.kind "none" -}}
{{ $full }}{{ .Values.canary.enabled | ternary (printf "|%s-canary" $full) "" }}
{{- end -}}
{{- end -}}

{{/* What a replica of a track holds at most; each of several workers has the bounds for itself. */}}
{{- define "lapis.rules.bounds" -}}
{{- $defaults := dict "workers" 1 "max_queue" 256 "max_queue_bytes" 536870912 "max_total_queue" 1024 "max_total_queue_bytes" 2147483648 -}}
{{- $settings := merge (include "lapis.settings.given" . | fromYaml) $defaults -}}
{{- $workers := int64 $settings.workers -}}
- selector: {{ .root.Values.canary.enabled | ternary (printf ",track=%q" .track) "" | quote }}
  requests: {{ mul $workers (int64 $settings.max_queue) | quote }}
  bytes: {{ mul $workers (int64 $settings.max_queue_bytes) | quote }}
  totalRequests: {{ mul $workers (int64 $settings.max_total_queue) | quote }}
  totalBytes: {{ mul $workers (int64 $settings.max_total_queue_bytes) | quote }}
{{- end -}}

{{/*
PromQL for the requests a second that were answered within the objective. Prometheus knows how many were answered within
each bound of the histogram; between two bounds they are taken to be spread evenly, as histogram_quantile does.
*/}}
{{- define "lapis.rules.answeredInTime" -}}
{{- $objective := float64 .latencySeconds -}}
{{- $below := "0" -}}
{{- $above := "" -}}
{{- range list "0.001" "0.0025" "0.005" "0.01" "0.025" "0.05" "0.1" "0.25" "0.5" "1.0" "2.5" "5.0" "10.0" "30.0" -}}
{{- if le (float64 .) $objective -}}
{{- $below = . -}}
{{- else if not $above -}}
{{- $above = . -}}
{{- end -}}
{{- end -}}
{{- $within := "sum by (namespace, job) (rate(lapis_request_seconds_bucket{%s,%s,code=\"OK\",le=%q}[5m]))" -}}
{{- if eq (float64 $below) $objective -}}
{{ printf $within .release .translations $below }}
{{- else -}}
{{- $share := divf (subf $objective (float64 $below)) (subf (float64 $above) (float64 $below)) | toString -}}
{{- if ne $below "0" -}}
(1 - {{ $share }}) * {{ printf $within .release .translations $below }}
+
{{ end -}}
{{ $share }} * {{ printf $within .release .translations $above }}
{{- end -}}
{{- end -}}

{{/* Refuses objectives that no alert could watch, and names of alerts that there are not. */}}
{{- define "lapis.checks.rules" -}}
{{- $rules := .Values.monitoring.rules -}}
{{- if or (lt (float64 $rules.availability) 0.95) (ge (float64 $rules.availability) 1.0) -}}
{{- fail (printf "monitoring.rules.availability: %v must be a share from 0.95 up to less than 1, as in 0.999: below, the alerts could never fire, and 1 leaves no request that may fail" $rules.availability) -}}
{{- end -}}
{{- if or (le (float64 $rules.latencySeconds) 0.0) (gt (float64 $rules.latencySeconds) 30.0) -}}
{{- fail (printf "monitoring.rules.latencySeconds: %v must be more than 0 and at most 30, the longest time that lapis_request_seconds tells apart" $rules.latencySeconds) -}}
{{- end -}}
{{- $alerts := dict -}}
{{- range $path, $_ := .Files.Glob "files/rules/*.yaml" -}}
{{- range regexFindAll "alert: \\w+" ($.Files.Get $path) -1 -}}
{{- $_ := set $alerts (trimPrefix "alert: " .) true -}}
{{- end -}}
{{- end -}}
{{- range $rules.disabled -}}
{{- if not (hasKey $alerts .) -}}
{{- fail (printf "monitoring.rules.disabled: there is no alert %s; there are %s" . (keys $alerts | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
One group: the rules of a file, without the alerts that are disabled, each alert with its runbook. In the files, what
Prometheus fills in stands in [[ ]], because Helm's own braces are taken.
*/}}
{{- define "lapis.rules.group" -}}
{{- $monitoring := .root.Values.monitoring.rules -}}
{{- $text := tpl (.root.Files.Get (printf "files/rules/%s.yaml" .name)) (merge (dict "Template" .root.Template) .facts) -}}
{{- $kept := list -}}
{{- range $text | replace "[[" "{{" | replace "]]" "}}" | fromYamlArray -}}
{{- if not .alert -}}
{{- $kept = append $kept . -}}
{{- else if not (has .alert $monitoring.disabled) -}}
{{- $_ := set .annotations "runbook_url" (printf "%s#%s" $monitoring.runbooks (lower .alert)) -}}
{{- $kept = append $kept . -}}
{{- end -}}
{{- end -}}
{{- if $kept -}}
- name: lapis-{{ .name }}
  rules:
    {{- toYaml $kept | nindent 4 }}
{{- end -}}
{{- end -}}
