{{/*
What callers from outside may call: the same services with a header and without, as a match by service goes before one by
header alone.
*/}}
{{- define "lapis.route.matches" -}}
{{- $headers := list -}}
{{- range $name, $value := .headers -}}
{{- $headers = append $headers (dict "type" "Exact" "name" $name "value" $value) -}}
{{- end -}}
{{- $matches := list -}}
{{- range list "lapis.v1.TranslationService" "grpc.health.v1.Health" "grpc.reflection.v1.ServerReflection" "grpc.reflection.v1alpha.ServerReflection" -}}
{{- $match := dict "method" (dict "type" "Exact" "service" .) -}}
{{- with $headers -}}
{{- $_ := set $match "headers" . -}}
{{- end -}}
{{- $matches = append $matches $match -}}
{{- end -}}
{{- toYaml $matches -}}
{{- end -}}
