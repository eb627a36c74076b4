{{/* Bounds how many replicas of a track evictions take at once; those that are not ready hold up no drain of a node. */}}
{{- define "lapis.disruption" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "lapis.trackname" . }}
  labels:
    {{- include "lapis.labels" .root | nindent 4 }}
    lapis/track: {{ .track }}
spec:
  maxUnavailable: {{ .root.Values.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "lapis.trackselector" . | nindent 6 }}
{{- end -}}

{{/* The most replicas that there are of the stable track: of one there is nothing to bound. */}}
{{- define "lapis.mostreplicas" -}}
{{- eq .Values.autoscaling.kind "none" | ternary .Values.replicas .Values.autoscaling.maxReplicas | int -}}
{{- end -}}
