{{/* Where pods must get to by what the values say: where models are fetched from. */}}

{{- define "lapis.egress" -}}
{{- $sources := list .Values.model -}}
{{- if .Values.canary.enabled -}}
{{- $sources = append $sources (include "lapis.model" (dict "root" . "track" "canary") | fromYaml) -}}
{{- end -}}
{{- $ports := list -}}
{{- range $sources -}}
{{- if eq .source "download" -}}
{{- $at := urlParse .download.url -}}
{{- $by := dict "http" 80 -}}
{{- $named := regexFind ":[0-9]+$" $at.host | trimPrefix ":" -}}
{{- $ports = append $ports ($named | default (get $by $at.scheme) | default 443 | int) -}}
{{- end -}}
{{- end -}}
{{- with $ports | uniq }}
- ports:
    {{- range . }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}
{{- end -}}
