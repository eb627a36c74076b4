{{/* Where pods must get to by what the values say: where models are fetched from, and where traces are sent. */}}

{{- define "lapis.egress" -}}
{{- $stable := dict "root" . "track" "stable" -}}
{{- $tracks := .Values.canary.enabled | ternary (list $stable (dict "root" . "track" "canary")) (list $stable) -}}
{{- $ports := list -}}
{{- $identities := list -}}
{{- range $tracks -}}
{{- $model := include "lapis.model" . | fromYaml -}}
{{- if eq $model.source "download" -}}
{{- $ports = append $ports (include "lapis.egress.port" ($model.download.endpoint | default $model.download.url) | int) -}}
{{- if hasPrefix "oci://" $model.download.url -}}
{{- /* Where tokens are given, and what is redirected to, is elsewhere than the registry. */ -}}
{{- $ports = append $ports 443 -}}
{{- end -}}
{{- if not (or $model.download.secretName $model.download.endpoint) -}}
{{- $identities = append $identities (urlParse $model.download.url).scheme -}}
{{- end -}}
{{- end -}}
{{- with (include "lapis.settings.given" . | fromYaml).otlp_endpoint -}}
{{- $ports = append $ports (include "lapis.egress.port" . | int) -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.kserve.kind "servingRuntime" -}}
{{- /* What an InferenceService's storageUri names is fetched in this pod. */ -}}
{{- $ports = append $ports 443 -}}
{{- $identities = list "gs" "s3" -}}
{{- end -}}
{{- with $ports | uniq }}
- ports:
    {{- range . }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}
{{- if has "gs" $identities }}
# GKE's metadata server, which tells a workload's identity.
- to:
    - {ipBlock: {cidr: 169.254.169.254/32}}
    - {ipBlock: {cidr: 169.254.169.252/32}}
  ports:
    - {port: 80, protocol: TCP}
    - {port: 987, protocol: TCP}
    - {port: 988, protocol: TCP}
{{- end -}}
{{- if has "s3" $identities }}
# EKS' agent for Pod Identity. The node's own identity is not for pods: networkPolicy.egress would open 169.254.169.254.
- to:
    - {ipBlock: {cidr: 169.254.170.23/32}}
    - {ipBlock: {cidr: "fd00:ec2::23/128"}}
  ports:
    - {port: 80, protocol: TCP}
{{- end -}}
{{- end -}}

{{/* The port of a URL: the one that it names, or its scheme's. */}}
{{- define "lapis.egress.port" -}}
{{- $at := urlParse . -}}
{{- $named := regexFind ":[0-9]+$" $at.host | trimPrefix ":" -}}
{{- $named | default (eq $at.scheme "http" | ternary 80 443) -}}
{{- end -}}
