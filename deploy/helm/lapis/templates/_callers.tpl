{{/* From where the NetworkPolicy lets callers in. */}}

{{/* `named`; or `anyone`, `cluster` or `namespace`, as the ways in need it where nobody is named. */}}
{{- define "lapis.callers.kind" -}}
{{- if .Values.networkPolicy.callers -}}named
{{- else if and (ne .Values.service.type "ClusterIP") (eq .Values.kserve.kind "none") -}}anyone
{{- else if or .Values.gateway.enabled .Values.ingress.enabled (ne .Values.kserve.kind "none") -}}cluster
{{- else -}}namespace
{{- end -}}
{{- end -}}

{{/* Peers of the gRPC port, as a list in YAML; nothing where anyone may call. */}}
{{- define "lapis.callers" -}}
{{- $kind := include "lapis.callers.kind" . -}}
{{- if eq $kind "named" -}}
{{- toYaml .Values.networkPolicy.callers }}
{{- if include "lapis.trial.possible" . }}
# The pod of `helm test`.
- podSelector:
    matchLabels:
      {{- include "lapis.trial.selector" . | nindent 6 }}
{{- end -}}
{{- else if eq $kind "cluster" -}}
# The proxies of a Gateway, an Ingress or KServe run in a namespace that only who installed them knows.
- namespaceSelector: {}
{{- else if eq $kind "namespace" -}}
- podSelector: {}
{{- end -}}
{{- end -}}

{{/* Peers of the HTTP port. A Gateway that routes it gets through beside the scrapers that are named. */}}
{{- define "lapis.scrapers" -}}
{{- $policy := .Values.networkPolicy -}}
{{- $everywhere := list (dict "namespaceSelector" dict) -}}
{{- $peers := $policy.scrapers | default $everywhere -}}
{{- if and $policy.scrapers .Values.gateway.enabled .Values.gateway.http.enabled -}}
{{- $peers = concat $peers ($policy.callers | default $everywhere) -}}
{{- end -}}
{{- toYaml $peers -}}
{{- end -}}
