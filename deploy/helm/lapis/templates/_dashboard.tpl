{{/* The dashboard of a release: with a uid and a title of its own, and open on it. */}}
{{- define "lapis.dashboard" -}}
{{- $job := include "lapis.fullname" . -}}
{{- $dashboard := .Files.Get "files/dashboard.json" | fromJson -}}
{{- $_ := set $dashboard "uid" (printf "%s/%s" .Release.Namespace $job | sha256sum | trunc 16 | printf "lapis-%s") -}}
{{- $_ := set $dashboard "title" (printf "Lapis: %s/%s" .Release.Namespace $job) -}}
{{- $opensOn := dict "namespace" .Release.Namespace "job" $job -}}
{{- range $dashboard.templating.list -}}
{{- if hasKey $opensOn .name -}}
{{- $value := get $opensOn .name -}}
{{- $_ := set . "current" (dict "selected" true "text" $value "value" $value) -}}
{{- end -}}
{{- end -}}
{{- $dashboard | toPrettyJson -}}
{{- end -}}
