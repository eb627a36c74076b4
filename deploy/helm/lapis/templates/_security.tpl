{{/* What a pod may do: nothing that the "restricted" Pod Security Standard forbids, and no writing to its own file system. */}}

{{- define "lapis.security.pod" -}}
runAsNonRoot: true
{{- with int .Values.pod.user }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "lapis.security.container" -}}
runAsNonRoot: true
{{- with int .Values.pod.user }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
{{- end }}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "lapis.serviceaccountname" -}}
{{- $own := .Values.serviceAccount.create | ternary (include "lapis.fullname" .) "default" -}}
{{- .Values.serviceAccount.name | default $own -}}
{{- end -}}
