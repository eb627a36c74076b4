{{/* Where a track's models come from: a volume at /models, or the image's own. */}}

{{/* The model as values; a URL of the canary's own is not held to the checksum of the other one. */}}
{{- define "lapis.model" -}}
{{- $own := eq .track "canary" | ternary .root.Values.canary.model dict -}}
{{- $model := include "lapis.overlaid" (dict "group" .root.Values.model "own" $own) | fromYaml -}}
{{- $download := $own.download | default dict -}}
{{- if and (hasKey $download "url") (not (hasKey $download "sha256")) -}}
{{- $_ := set $model.download "sha256" "" -}}
{{- end -}}
{{- toYaml $model -}}
{{- end -}}

{{- define "lapis.model.volume" -}}
{{- $model := include "lapis.model" . | fromYaml -}}
{{- if eq $model.source "image" -}}
- name: models
  image:
    reference: {{ $model.image.reference }}
    pullPolicy: {{ $model.image.pullPolicy }}
{{- else if eq $model.source "claim" -}}
- name: models
  persistentVolumeClaim:
    claimName: {{ $model.claim.name }}
    readOnly: true
{{- else if eq $model.source "download" -}}
- name: models
  emptyDir:
    sizeLimit: {{ include "lapis.quantity" $model.download.sizeLimit }}
{{- end -}}
{{- end -}}

{{- define "lapis.model.mount" -}}
{{- $model := include "lapis.model" . | fromYaml -}}
{{- if ne $model.source "bundled" -}}
- name: models
  mountPath: /models
  readOnly: true
  {{- with (get $model $model.source).subPath }}
  subPath: {{ . }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Whether a track's models are an image that is mounted. */}}
{{- define "lapis.imagevolumes" -}}
{{- $canary := .Values.canary.enabled | ternary (include "lapis.model" (dict "root" . "track" "canary") | fromYaml) dict -}}
{{- if or (eq .Values.model.source "image") (eq ($canary.source | default "") "image") }}yes{{ end -}}
{{- end -}}

{{/* A quantity as it was written: Helm reads large numbers as floats, and would write them with an exponent. */}}
{{- define "lapis.quantity" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* A quantity of memory, as 4Gi or 500M, in bytes. */}}
{{- define "lapis.bytes" -}}
{{- $quantity := include "lapis.quantity" . -}}
{{- $factors := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $unit := regexFind "[A-Za-z]*$" $quantity -}}
{{- mulf (trimSuffix $unit $quantity | float64) (get $factors $unit) | int64 -}}
{{- end -}}

{{/*
Fetches the model into its volume before the server starts; what is there already, and whole, stays. It has the user's
variables and mounts too: a proxy, or the certificate of an authority, is for the fetch above all.
*/}}
{{- define "lapis.model.fetch" -}}
{{- $download := (include "lapis.model" . | fromYaml).download -}}
{{- $extra := .root.Values.extra -}}
- name: fetch-model
  image: {{ include "lapis.image" . }}
  imagePullPolicy: {{ include "lapis.pullpolicy" . }}
  command: [lapis-models, fetch]
  args:
    - {{ $download.url | quote }}
    - --output=/models
    {{- with $download.sha256 }}
    - --sha256={{ . }}
    {{- end }}
    {{- with $download.as }}
    - --as={{ . }}
    {{- end }}
    {{- with $download.endpoint }}
    - --endpoint={{ . }}
    {{- end }}
    - --max-bytes={{ include "lapis.bytes" $download.sizeLimit }}
  {{- $isGpu := ne .root.Values.accelerator.kind "cpu" }}
  {{- if or $isGpu $extra.env }}
  env:
    {{- with $extra.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if $isGpu }}
    {{- include "lapis.env.nogpu" . | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- if or $download.secretName $extra.envFrom }}
  envFrom:
    {{- with $download.secretName }}
    - secretRef:
        name: {{ . }}
    {{- end }}
    {{- with $extra.envFrom }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  resources:
    requests:
      cpu: 100m
      memory: 256Mi
    limits:
      cpu: "1"
      memory: 1Gi
  securityContext:
    {{- include "lapis.security.container" .root | nindent 4 }}
  volumeMounts:
    - name: models
      mountPath: /models
    - name: tmp
      mountPath: /tmp
    {{- with $extra.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* The CUDA image asks the container runtime for every GPU of the node; who computes nothing there sees none. */}}
{{- define "lapis.env.nogpu" -}}
- name: NVIDIA_VISIBLE_DEVICES
  value: void
{{- end -}}
