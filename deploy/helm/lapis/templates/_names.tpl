{{/* Names and labels. A track is "stable" or "canary". */}}

{{/* Leaves room for `-test`. */}}
{{- define "lapis.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 58 | trimAll "-." -}}
{{- end -}}

{{/*
Leaves room for the longest ending, and has no dots, which releases may have: every name built on it is a DNS label.
*/}}
{{- define "lapis.fullname" -}}
{{- $name := include "lapis.name" . -}}
{{- $whole := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $whole .Values.fullnameOverride | replace "." "-" | trunc 46 | trimAll "-" -}}
{{- end -}}

{{- define "lapis.trackname" -}}
{{- $full := include "lapis.fullname" .root -}}
{{- eq .track "canary" | ternary (printf "%s-canary" $full) $full -}}
{{- end -}}

{{- define "lapis.selector" -}}
app.kubernetes.io/name: {{ include "lapis.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lapis.trackselector" -}}
{{ include "lapis.selector" .root }}
lapis/track: {{ .track }}
{{- end -}}

{{- define "lapis.labels" -}}
{{- include "lapis.labels.with" (dict "root" . "more" dict) -}}
{{- end -}}

{{/* Those of every object, and `more`. */}}
{{- define "lapis.labels.with" -}}
{{- $root := .root -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{ include "lapis.selector" $root }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{ include "lapis.labels.given" . }}
{{- end -}}

{{/* What the values say, each label once: one that is given for fewer objects goes before one that is given for all. */}}
{{- define "lapis.labels.given" -}}
{{- $labels := dict "app.kubernetes.io/part-of" "lapis" -}}
{{- range list .root.Values.labels .more -}}
{{- range $name, $value := . -}}
{{- $_ := set $labels $name $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $labels -}}
{{- end -}}
