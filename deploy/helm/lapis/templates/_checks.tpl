{{/*
What a schema cannot say of the workload's values, because it lies between two of them. Each mistake ends the rendering
with a sentence: which value, what is wrong, what would be right.
*/}}
{{- define "lapis.checks.workload" -}}
{{- include "lapis.checks.names" . -}}
{{- include "lapis.checks.accelerator" . -}}
{{- include "lapis.checks.rollout" . -}}
{{- include "lapis.checks.kserve" . -}}
{{- include "lapis.checks.track" (dict "root" . "track" "stable" "prefix" "") -}}
{{- if .Values.canary.enabled -}}
{{- include "lapis.checks.track" (dict "root" . "track" "canary" "prefix" "canary.") -}}
{{- end -}}
{{- end -}}

{{- define "lapis.checks.names" -}}
{{- if eq (int .Values.service.port) (int .Values.service.httpPort) -}}
{{- fail (printf "service.port: %v is service.httpPort too; give them different numbers" .Values.service.port) -}}
{{- end -}}
{{- range .Values.extra.volumes -}}
{{- if has .name (list "settings" "tmp" "models" "engine-cache" "tls" "client-ca" "tokens") -}}
{{- fail (printf "extra.volumes: %s is a volume of the chart's own; give yours another name" .name) -}}
{{- end -}}
{{- end -}}
{{- $full := include "lapis.fullname" . -}}
{{- if not (regexMatch "^[a-z]" $full) -}}
{{- fail (printf "fullnameOverride: the release would be named %s, but a Service's name begins with a letter; give another" $full) -}}
{{- end -}}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" "lapis/track" -}}
{{- $given := dict "labels" .Values.labels "pod.labels" .Values.pod.labels "monitoring.labels" .Values.monitoring.labels "monitoring.dashboard.labels" .Values.monitoring.dashboard.labels -}}
{{- range $value, $labels := $given -}}
{{- range $name, $_ := $labels -}}
{{- if has $name $own -}}
{{- fail (printf "%s: %s is the chart's own label, by which its objects find each other; leave it out" $value $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lapis.checks.accelerator" -}}
{{- $accelerator := .Values.accelerator -}}
{{- $kind := $accelerator.kind -}}
{{- if and (eq $kind "mig") (not $accelerator.migProfile) (not $accelerator.resource) -}}
{{- fail "accelerator.migProfile: is needed with accelerator.kind: mig, as in 1g.10gb" -}}
{{- end -}}
{{- if and $accelerator.migProfile (ne $kind "mig") -}}
{{- fail (printf "accelerator.migProfile: is for accelerator.kind: mig, which is %s" $kind) -}}
{{- end -}}
{{- if and (has $kind (list "shared" "mig")) (gt (int $accelerator.count) 1) -}}
{{- fail (printf "accelerator.count: %v with accelerator.kind: %s; a process computes on one slice or share, so leave it at 1 and raise replicas" $accelerator.count $kind) -}}
{{- end -}}
{{- if and $accelerator.tensorrt.enabled (eq $kind "cpu") -}}
{{- fail "accelerator.tensorrt.enabled: needs a GPU, but accelerator.kind is cpu" -}}
{{- end -}}
{{- if and $accelerator.tensorrt.fp16 (not $accelerator.tensorrt.enabled) -}}
{{- fail "accelerator.tensorrt.fp16: does nothing without accelerator.tensorrt.enabled" -}}
{{- end -}}
{{- if and $accelerator.engineCache.enabled (not $accelerator.tensorrt.enabled) -}}
{{- fail "accelerator.engineCache.enabled: keeps what TensorRT builds, and does nothing without accelerator.tensorrt.enabled" -}}
{{- end -}}
{{- $isCrowded := or (gt (include "lapis.mostreplicas" . | int) 1) .Values.canary.enabled (not (has (toString .Values.rollout.maxSurge) (list "0" "0%"))) -}}
{{- if and $accelerator.engineCache.enabled (has "ReadWriteOncePod" $accelerator.engineCache.accessModes) $isCrowded -}}
{{- fail "accelerator.engineCache.accessModes: ReadWriteOncePod lets one pod have the cache; use ReadWriteMany, or one replica without a canary and with rollout.maxSurge: 0" -}}
{{- end -}}
{{- range $value := list "product" "resource" "runtimeClassName" -}}
{{- if and (get $accelerator $value) (eq $kind "cpu") -}}
{{- fail (printf "accelerator.%s: is for GPUs, but accelerator.kind is cpu" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lapis.checks.rollout" -}}
{{- $rollout := .Values.rollout -}}
{{- $isNone := list "0" "0%" -}}
{{- if and (has (toString $rollout.maxSurge) $isNone) (has (toString $rollout.maxUnavailable) $isNone) -}}
{{- fail "rollout.maxSurge: is 0 and so is rollout.maxUnavailable, so that no replica could ever be replaced; let one of them be 1" -}}
{{- end -}}
{{- if and $rollout.connectionAge (lt (int $rollout.connectionAge) (int $rollout.drainSeconds)) -}}
{{- fail (printf "rollout.connectionAge: %v is shorter than the %v seconds (rollout.drainSeconds) that calls may take; make it longer, or 0 for connections that last" $rollout.connectionAge $rollout.drainSeconds) -}}
{{- end -}}
{{- if and .Values.podDisruptionBudget.enabled (has (toString .Values.podDisruptionBudget.maxUnavailable) $isNone) -}}
{{- fail "podDisruptionBudget.maxUnavailable: with 0 no node could ever be drained; give 1 or more, or a share as in 25%" -}}
{{- end -}}
{{- end -}}

{{- define "lapis.checks.kserve" -}}
{{- $values := .Values -}}
{{- if ne $values.kserve.kind "none" -}}
{{- if $values.canary.enabled -}}
{{- fail (printf "canary.enabled: does not go with kserve.kind: %s; use KServe's own canaryTrafficPercent, or kserve.kind: none" $values.kserve.kind) -}}
{{- end -}}
{{- if ne $values.autoscaling.kind "none" -}}
{{- fail (printf "autoscaling.kind: %s scales the Deployment that kserve.kind: %s replaces; leave it none" $values.autoscaling.kind $values.kserve.kind) -}}
{{- end -}}
{{- end -}}
{{- if and (ne $values.kserve.kind "none") (eq $values.monitoring.monitor "service") -}}
{{- fail (printf "monitoring.monitor: service finds nothing with kserve.kind: %s, whose Services are KServe's own; use pod" $values.kserve.kind) -}}
{{- end -}}
{{- if eq $values.kserve.kind "servingRuntime" -}}
{{- include "lapis.checks.servingruntime" . -}}
{{- end -}}
{{- end -}}

{{- define "lapis.checks.servingruntime" -}}
{{- $values := .Values -}}
{{- if ne $values.model.source "bundled" -}}
{{- fail (printf "model.source: %s does not go with kserve.kind: servingRuntime; the InferenceService's storageUri names the models (a folder with NAME/VERSION/model.onnx)" $values.model.source) -}}
{{- end -}}
{{- if gt (int $values.rollout.endpointDelay) 20 -}}
{{- fail (printf "rollout.endpointDelay: %v leaves no time for requests in hand: the pod of a ServingRuntime ends after 30 seconds; give 20 or less" $values.rollout.endpointDelay) -}}
{{- end -}}
{{- $absent := dict
      "accelerator.engineCache.enabled" $values.accelerator.engineCache.enabled
      "accelerator.runtimeClassName" $values.accelerator.runtimeClassName
      "extra.initContainers" $values.extra.initContainers
      "placement.priorityClassName" $values.placement.priorityClassName
      "serviceAccount.annotations" $values.serviceAccount.annotations
      "serviceAccount.name" $values.serviceAccount.name -}}
{{- range $name, $value := $absent -}}
{{- if $value -}}
{{- fail (printf "%s: a ServingRuntime has no place for it; set it in the InferenceService, or use kserve.kind: inferenceService" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lapis.checks.track" -}}
{{- include "lapis.checks.image" . -}}
{{- include "lapis.checks.unused" . -}}
{{- include "lapis.checks.model" . -}}
{{- include "lapis.checks.settings" . -}}
{{- end -}}

{{- define "lapis.checks.image" -}}
{{- $image := include "lapis.imagevalues" . | fromYaml -}}
{{- if and $image.digest (not (regexMatch "^sha256:[0-9a-f]{64}$" $image.digest)) -}}
{{- fail (printf "%simage.digest: %q is no digest; it is sha256: and 64 of 0-9 and a-f" .prefix $image.digest) -}}
{{- end -}}
{{- if regexMatch "@|:[^/]*$" $image.repository -}}
{{- fail (printf "%simage.repository: %q names a tag or digest; those go to image.tag and image.digest" .prefix $image.repository) -}}
{{- end -}}
{{- if eq (toString $image.tag) "latest" -}}
{{- fail (printf "%simage.tag: latest is another image tomorrow; name a version, or an image.digest" .prefix) -}}
{{- end -}}
{{- end -}}

{{- define "lapis.checks.model" -}}
{{- $model := include "lapis.model" . | fromYaml -}}
{{- if eq $model.source "image" -}}
{{- include "lapis.checks.model.image" (merge (dict "image" $model.image) .) -}}
{{- else if and (eq $model.source "claim") (not $model.claim.name) -}}
{{- fail (printf "%smodel.claim.name: is needed with model.source: claim" .prefix) -}}
{{- else if eq $model.source "download" -}}
{{- include "lapis.checks.model.download" (merge (dict "download" $model.download) .) -}}
{{- end -}}
{{- end -}}

{{- define "lapis.checks.model.image" -}}
{{- $kube := .root.Capabilities.KubeVersion.Version -}}
{{- if semverCompare "<1.33.0-0" $kube -}}
{{- fail (printf "%smodel.source: image needs Kubernetes 1.35, or 1.33 with the feature gate ImageVolume, and this is %s; use download with an oci:// URL" .prefix $kube) -}}
{{- end -}}
{{- if not .image.reference -}}
{{- fail (printf "%smodel.image.reference: is needed with model.source: image, as in registry.example.com/models/facades:3" .prefix) -}}
{{- end -}}
{{- if or (not (regexMatch "@sha256:[0-9a-f]{64}$|:[^/@]+$" .image.reference)) (hasSuffix ":latest" .image.reference) -}}
{{- fail (printf "%smodel.image.reference: %q must end in a tag other than latest, or in @sha256: and a digest" .prefix .image.reference) -}}
{{- end -}}
{{- end -}}

{{- define "lapis.checks.model.download" -}}
{{- $url := .download.url -}}
{{- if not (regexMatch "^(s3|gs|az|https?|oci)://[^/]" $url) -}}
{{- fail (printf "%smodel.download.url: %q must begin with s3://, gs://, az://, https:// or oci://, with model.source: download" .prefix $url) -}}
{{- end -}}
{{- if and .download.endpoint (not (regexMatch "^(s3|gs|az)://" $url)) -}}
{{- fail (printf "%smodel.download.endpoint: is for s3://, gs:// and az://, but %smodel.download.url is %s" .prefix .prefix $url) -}}
{{- end -}}
{{- if and (regexMatch "^https?://" $url) (not .download.sha256) -}}
{{- fail (printf "%smodel.download.sha256: is needed for %s; `sha256sum` of the file tells it" .prefix $url) -}}
{{- end -}}
{{- if and .download.sha256 (not (regexMatch "^(sha256:)?[0-9a-fA-F]{64}$" .download.sha256)) -}}
{{- fail (printf "%smodel.download.sha256: %q is no SHA-256; it is 64 of 0-9 and a-f" .prefix .download.sha256) -}}
{{- end -}}
{{- if and .download.as (not (regexMatch "^[A-Za-z0-9][A-Za-z0-9._-]*/[1-9][0-9]*$" .download.as)) -}}
{{- fail (printf "%smodel.download.as: %q is not NAME/VERSION, as in facades/3" .prefix .download.as) -}}
{{- end -}}
{{- if not (regexMatch "^[0-9]+(\\.[0-9]+)?([kMGT]|[KMGT]i)?$" (include "lapis.quantity" .download.sizeLimit)) -}}
{{- fail (printf "%smodel.download.sizeLimit: %v is no size, as in 4Gi or 500Mi" .prefix .download.sizeLimit) -}}
{{- end -}}
{{- end -}}

{{/* What is given for a source that is not chosen was meant, and would be passed over. */}}
{{- define "lapis.checks.unused" -}}
{{- $prefix := .prefix -}}
{{- $own := eq .track "canary" | ternary .root.Values.canary.model .root.Values.model -}}
{{- $chosen := (include "lapis.model" . | fromYaml).source -}}
{{- range $source, $key := dict "image" "reference" "claim" "name" "download" "url" -}}
{{- if and (dig $source $key "" $own) (ne $chosen $source) -}}
{{- fail (printf "%smodel.%s.%s: is set, but %smodel.source is %s; set %smodel.source: %s" $prefix $source $key $prefix $chosen $prefix $source) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lapis.checks.settings" -}}
{{- $prefix := .prefix -}}
{{- $owned := include "lapis.settings.owned" . | fromYaml -}}
{{- $settings := eq .track "canary" | ternary .root.Values.canary.settings .root.Values.settings -}}
{{- range $name, $value := $settings -}}
{{- if contains "-" $name -}}
{{- fail (printf "%ssettings.%s: settings are written with _, as in %s" $prefix $name (replace "-" "_" $name)) -}}
{{- end -}}
{{- if hasKey $owned $name -}}
{{- fail (printf "%ssettings.%s: is set by %s" $prefix $name (get $owned $name)) -}}
{{- end -}}
{{- if and (has $name (list "host" "http_host")) (not (has $value (list "0.0.0.0" "::"))) -}}
{{- fail (printf "%ssettings.%s: %q would not be reached from outside the pod; leave it out, or say :: on clusters with IPv6 alone" $prefix $name (toString $value)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
