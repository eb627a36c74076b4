{{/*
The pod of a track. KServe wants its container's name to be another (`container`), and says itself where models are
(`models`).
*/}}

{{/* Without the chart's version, so that a new chart which changes nothing about the pod replaces none. */}}
{{- define "lapis.pod.labels" -}}
{{ include "lapis.trackselector" . }}
{{ include "lapis.labels.given" (dict "root" .root "more" .root.Values.pod.labels) }}
{{- end -}}

{{- define "lapis.pod.annotations" -}}
checksum/settings: {{ include "lapis.settings" . | sha256sum }}
{{- with .root.Values.pod.annotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "lapis.pod" -}}
{{- $values := .root.Values -}}
{{- $isFetched := eq (include "lapis.model" . | fromYaml).source "download" -}}
serviceAccountName: {{ include "lapis.serviceaccountname" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ include "lapis.graceseconds" .root }}
{{- with (include "lapis.imagevalues" . | fromYaml).pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.accelerator.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $values.placement.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  {{- include "lapis.security.pod" .root | nindent 2 }}
{{- if or $isFetched $values.extra.initContainers }}
initContainers:
  {{- with $values.extra.initContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- if $isFetched }}
  {{- include "lapis.model.fetch" . | nindent 2 }}
  {{- end }}
{{- end }}
containers:
  {{- include "lapis.container" . | nindent 2 }}
  {{- with $values.extra.containers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  {{- include "lapis.volumes" . | nindent 2 }}
{{- with include "lapis.nodeselector" .root }}
nodeSelector:
  {{- . | nindent 2 }}
{{- end }}
{{- with include "lapis.tolerations" .root }}
tolerations:
  {{- . | nindent 2 }}
{{- end }}
{{- with $values.placement.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "lapis.spread" . }}
topologySpreadConstraints:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "lapis.container" -}}
{{- $values := .root.Values -}}
- name: {{ .container | default "lapis" }}
  image: {{ include "lapis.image" . }}
  imagePullPolicy: {{ include "lapis.pullpolicy" . }}
  args:
    {{- include "lapis.args" . | nindent 4 }}
  {{- with $values.extra.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.extra.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - name: grpc
      containerPort: 50051
    - name: http
      containerPort: 8080
  {{- include "lapis.probes" . | nindent 2 }}
  {{- with include "lapis.lifecycle" .root }}
  {{- . | nindent 2 }}
  {{- end }}
  resources:
    {{- include "lapis.resources" .root | nindent 4 }}
  securityContext:
    {{- include "lapis.security.container" .root | nindent 4 }}
  volumeMounts:
    {{- include "lapis.mounts" . | nindent 4 }}
{{- end -}}

{{- define "lapis.mounts" -}}
{{- $values := .root.Values -}}
- name: settings
  mountPath: /etc/lapis
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- with include "lapis.model.mount" . }}
{{ . }}
{{- end }}
{{- if $values.accelerator.engineCache.enabled }}
- name: engine-cache
  mountPath: /var/cache/lapis
{{- end }}
{{- if $values.tls.enabled }}
- name: tls
  mountPath: /etc/lapis-tls
  readOnly: true
{{- if $values.tls.clientCASecretName }}
- name: client-ca
  mountPath: /etc/lapis-client-ca
  readOnly: true
{{- end }}
{{- end }}
{{- if $values.tokens.secretName }}
- name: tokens
  mountPath: /etc/lapis-tokens
  readOnly: true
{{- end }}
{{- with $values.extra.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "lapis.volumes" -}}
{{- $values := .root.Values -}}
- name: settings
  configMap:
    name: {{ include "lapis.settings.name" . }}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- with include "lapis.model.volume" . }}
{{ . }}
{{- end }}
{{- if $values.accelerator.engineCache.enabled }}
- name: engine-cache
  persistentVolumeClaim:
    claimName: {{ include "lapis.enginecache.claim" .root }}
{{- end }}
{{- if $values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "lapis.tls.secret" .root }}
{{- with $values.tls.clientCASecretName }}
- name: client-ca
  secret:
    secretName: {{ . }}
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- end }}
{{- with $values.tokens.secretName }}
- name: tokens
  secret:
    secretName: {{ . }}
    items: [{key: tokens, path: tokens}]
{{- end }}
{{- with $values.extra.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "lapis.enginecache.claim" -}}
{{- .Values.accelerator.engineCache.existingClaim | default (printf "%s-engine-cache" (include "lapis.fullname" .)) -}}
{{- end -}}

{{- define "lapis.tls.secret" -}}
{{- .Values.tls.secretName | default (printf "%s-tls" (include "lapis.fullname" .)) -}}
{{- end -}}

{{/* Each version of a Deployment is spread by itself, so that an outgoing one does not push the next to the wrong places. */}}
{{- define "lapis.spread" -}}
{{- $selector := include "lapis.trackselector" . | fromYaml -}}
{{- $constraints := list -}}
{{- range .root.Values.placement.spreadOver -}}
{{- $where := dict "maxSkew" 1 "topologyKey" . "whenUnsatisfiable" "ScheduleAnyway" -}}
{{- $whom := dict "labelSelector" (dict "matchLabels" $selector) "matchLabelKeys" (list "pod-template-hash") -}}
{{- $constraints = append $constraints (merge $where $whom) -}}
{{- end -}}
{{- with $constraints }}{{ toYaml . }}{{ end -}}
{{- end -}}
