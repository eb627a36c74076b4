{{/*
The Deployment of a track; without `replicas` something else scales it. Then those that there are stay: a number that is
taken out of a manifest is 1 to Kubernetes, and whoever switches scaling on would lose the others.
*/}}
{{- define "lapis.deployment" -}}
{{- $rollout := .root.Values.rollout -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "lapis.trackname" . }}
  labels:
    {{- include "lapis.labels" .root | nindent 4 }}
    lapis/track: {{ .track }}
spec:
  {{- $live := lookup "apps/v1" "Deployment" .root.Release.Namespace (include "lapis.trackname" .) }}
  {{- if hasKey . "replicas" }}
  replicas: {{ .replicas }}
  {{- else if $live }}
  replicas: {{ $live.spec.replicas }}
  {{- end }}
  revisionHistoryLimit: {{ $rollout.revisions }}
  # A replica that came up must have been found by callers before the next one leaves.
  minReadySeconds: {{ $rollout.endpointDelay }}
  # The start, and besides it five minutes for a node and the image.
  progressDeadlineSeconds: {{ add (int $rollout.startupSeconds) (int $rollout.endpointDelay) 300 }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: {{ $rollout.maxSurge }}
      maxUnavailable: {{ $rollout.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "lapis.trackselector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "lapis.pod.labels" . | nindent 8 }}
      annotations:
        {{- include "lapis.pod.annotations" . | nindent 8 }}
    spec:
      {{- include "lapis.pod" . | nindent 6 }}
{{- end -}}
