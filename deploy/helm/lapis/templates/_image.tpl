{{/* The image of a track, and how what differs in the canary is laid over what both share. */}}

{{/*
A group of values with the canary's own keys laid over it, groups within it key by key. Helm's `merge` would pass over
what was set to false, 0 or "".
*/}}
{{- define "lapis.overlaid" -}}
{{- $group := deepCopy .group -}}
{{- range $key, $own := .own -}}
{{- if kindIs "map" $own -}}
{{- $inner := get $group $key | default dict -}}
{{- range $name, $value := $own -}}
{{- $_ := set $inner $name $value -}}
{{- end -}}
{{- $_ := set $group $key $inner -}}
{{- else -}}
{{- $_ := set $group $key $own -}}
{{- end -}}
{{- end -}}
{{- toYaml $group -}}
{{- end -}}

{{/* The image as values: a tag or repository of the canary's own is not overruled by the digest of the other image. */}}
{{- define "lapis.imagevalues" -}}
{{- $own := eq .track "canary" | ternary .root.Values.canary.image dict -}}
{{- $image := include "lapis.overlaid" (dict "group" .root.Values.image "own" $own) | fromYaml -}}
{{- if and (or (hasKey $own "tag") (hasKey $own "repository")) (not (hasKey $own "digest")) -}}
{{- $_ := set $image "digest" "" -}}
{{- end -}}
{{- toYaml $image -}}
{{- end -}}

{{- define "lapis.image" -}}
{{- $image := include "lapis.imagevalues" . | fromYaml -}}
{{- $kind := eq .root.Values.accelerator.kind "cpu" | ternary "cpu" "cuda" -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (printf "%s-%s" .root.Chart.AppVersion $kind) }}
{{- end -}}
{{- end -}}

{{- define "lapis.pullpolicy" -}}
{{- (include "lapis.imagevalues" . | fromYaml).pullPolicy -}}
{{- end -}}
