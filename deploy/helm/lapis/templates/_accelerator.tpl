{{/* What a replica computes on: the resource that it asks for, the devices that it names, and the nodes that have them. */}}

{{- define "lapis.accelerator.resource" -}}
{{- with .Values.accelerator -}}
{{- $names := dict "gpu" "nvidia.com/gpu" "shared" "nvidia.com/gpu.shared" "mig" (printf "nvidia.com/mig-%s" .migProfile) -}}
{{- .resource | default (get $names .kind) -}}
{{- end -}}
{{- end -}}

{{/* As `lapis-serve --devices` takes it: cpu, or one device for each GPU of the pod. */}}
{{- define "lapis.accelerator.devices" -}}
{{- $accelerator := .Values.accelerator -}}
{{- if eq $accelerator.kind "cpu" -}}
cpu
{{- else -}}
{{- $provider := $accelerator.tensorrt.enabled | ternary "tensorrt" "cuda" -}}
{{- $devices := list -}}
{{- range $number := until (int $accelerator.count) -}}
{{- $devices = append $devices (printf "%s:%d" $provider $number) -}}
{{- end -}}
{{- join "," $devices -}}
{{- end -}}
{{- end -}}

{{/*
Requests and limits. Beside the model (463 MB in all with the bundled one on the CPU), a server holds up to 2 GiB of
requests (max_total_queue_bytes); a GPU's libraries take more than the model. How many CPU cores there are, and with them
how many runs and codec threads, the server takes from the limit: without one it would take the node's.
*/}}
{{- define "lapis.resources" -}}
{{- $sizes := dict "cpu" (list "2" "1Gi" "4Gi") "gpu" (list "4" "4Gi" "8Gi") "shared" (list "2" "4Gi" "8Gi") "mig" (list "2" "4Gi" "8Gi") -}}
{{- $size := get $sizes .Values.accelerator.kind -}}
{{- $requests := dict "cpu" (index $size 0) "memory" (index $size 1) -}}
{{- $limits := dict "cpu" (index $size 0) "memory" (index $size 2) -}}
{{- $resources := .Values.resources | default (dict "requests" $requests "limits" $limits) | deepCopy -}}
{{- if ne .Values.accelerator.kind "cpu" -}}
{{- $limits := $resources.limits | default dict -}}
{{- $_ := set $limits (include "lapis.accelerator.resource" .) (int .Values.accelerator.count) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "lapis.nodeselector" -}}
{{- $labels := deepCopy (.Values.placement.nodeSelector | default dict) -}}
{{- with .Values.accelerator.product -}}
{{- $_ := set $labels "nvidia.com/gpu.product" . -}}
{{- end -}}
{{- with $labels }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- define "lapis.tolerations" -}}
{{- $tolerations := .Values.placement.tolerations -}}
{{- if ne .Values.accelerator.kind "cpu" -}}
{{- $tolerations = append $tolerations (dict "key" "nvidia.com/gpu" "operator" "Exists" "effect" "NoSchedule") -}}
{{- end -}}
{{- with $tolerations }}{{ toYaml . }}{{ end -}}
{{- end -}}
