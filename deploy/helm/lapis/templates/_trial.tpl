{{/* The pod of `helm test`. Its labels are its own, so that no Service, budget or policy takes it for a replica. */}}

{{- define "lapis.trial.selector" -}}
app.kubernetes.io/name: {{ include "lapis.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* A ServingRuntime runs nothing by itself; and where callers must show a certificate, the test needs one. */}}
{{- define "lapis.trial.possible" -}}
{{- $asksForCertificates := and .Values.tls.enabled .Values.tls.clientCASecretName -}}
{{- if and (ne .Values.kserve.kind "servingRuntime") (or (not $asksForCertificates) .Values.test.clientSecretName) -}}
yes
{{- end -}}
{{- end -}}

{{/* The Service; of KServe's, whose ports differ from one version to the next, the replicas themselves. */}}
{{- define "lapis.trial.server" -}}
{{- if eq .Values.kserve.kind "none" -}}
{{ include "lapis.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- else -}}
{{ include "lapis.fullname" . }}-headless.{{ .Release.Namespace }}.svc:50051
{{- end -}}
{{- end -}}

{{- define "lapis.trial.args" -}}
- --server={{ .Values.test.server | default (include "lapis.trial.server" .) }}
{{- if .Values.tls.enabled }}
- --authorities=/etc/lapis-tls/ca.crt,/etc/lapis-tls/tls.crt
{{- end }}
{{- if .Values.test.clientSecretName }}
- --client-certificate=/etc/lapis-client-tls/tls.crt
- --client-key=/etc/lapis-client-tls/tls.key
{{- end }}
{{- if .Values.tokens.secretName }}
- --tokens=/etc/lapis-tokens/tokens
{{- end }}
{{- end -}}
