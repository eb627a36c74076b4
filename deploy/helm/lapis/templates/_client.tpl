{{/* gRPC's service config for callers: spread calls, leave out who is not healthy, try again elsewhere. */}}

{{- define "lapis.client.config" -}}
{{- $names := list -}}
{{- range list "Translate" "ListModels" "GetModel" -}}
{{- $names = append $names (dict "service" "lapis.v1.TranslationService" "method" .) -}}
{{- end -}}
{{- $balancing := eq .Values.client.balancing "weighted_round_robin" | ternary (dict "blackoutPeriod" "1s") dict -}}
{{- $retry := dict
      "maxAttempts" .Values.client.maxAttempts
      "initialBackoff" "0.1s"
      "maxBackoff" "1s"
      "backoffMultiplier" 2
      "retryableStatusCodes" (list "UNAVAILABLE") -}}
{{- dict
      "loadBalancingConfig" (list (dict .Values.client.balancing $balancing))
      "healthCheckConfig" (dict "serviceName" "")
      "methodConfig" (list (dict "name" $names "retryPolicy" $retry))
    | toPrettyJson -}}
{{- end -}}

{{- define "lapis.client.target" -}}
dns:///{{ include "lapis.fullname" . }}-headless.{{ .Release.Namespace }}.svc:50051
{{- end -}}
