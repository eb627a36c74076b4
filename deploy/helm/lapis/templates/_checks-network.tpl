{{/* Mistakes in the values of network and scaling that no schema can see, because they lie between two of them. */}}

{{- define "lapis.checks.network" -}}
{{- include "lapis.checks.scaling" . -}}
{{- include "lapis.checks.tls" . -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) -}}
{{- fail "gateway.enabled: name the Gateway with gateway.parentRefs" -}}
{{- end -}}
{{- if and .Values.gateway.backendTLS.authority (not (and .Values.gateway.enabled .Values.tls.enabled)) -}}
{{- fail "gateway.backendTLS.authority: is for a Gateway before replicas that speak TLS; set gateway.enabled and tls.enabled too" -}}
{{- end -}}
{{- include "lapis.checks.http" . -}}
{{- if and .Values.canary.enabled .Values.gateway.enabled (not (int .Values.canary.replicas)) (int .Values.canary.weight) -}}
{{- fail (printf "canary.replicas: is 0, but canary.weight sends it %v %% of the calls; set one to 0 with the other" .Values.canary.weight) -}}
{{- end -}}
{{- if and .Values.canary.header (not .Values.gateway.enabled) -}}
{{- fail "canary.header: only a Gateway routes by metadata; set gateway.enabled" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.enabled: name the host with ingress.host" -}}
{{- end -}}
{{- if and .Values.ingress.enabled .Values.gateway.enabled -}}
{{- fail "ingress.enabled and gateway.enabled: choose one way in" -}}
{{- end -}}
{{- if ne .Values.kserve.kind "none" -}}
{{- range $name, $on := dict "gateway.enabled" .Values.gateway.enabled "ingress.enabled" .Values.ingress.enabled -}}
{{- if $on -}}
{{- fail (printf "%s: with kserve.kind %s that is KServe's to do; leave it out" $name $.Values.kserve.kind) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A Gateway that has a GRPCRoute for a name takes no HTTPRoute for it on the same listener. */}}
{{- define "lapis.checks.http" -}}
{{- $gateway := .Values.gateway -}}
{{- $http := $gateway.http -}}
{{- if and $http.enabled (not $http.parentRefs) -}}
{{- if not (and $http.hostnames $gateway.hostnames) -}}
{{- fail "gateway.http.enabled: a Gateway takes one kind of route for a host name; name the one for gRPC with gateway.hostnames and another with gateway.http.hostnames, or another listener with gateway.http.parentRefs" -}}
{{- end -}}
{{- range $http.hostnames -}}
{{- if has . $gateway.hostnames -}}
{{- fail (printf "gateway.http.hostnames: %s is one of gateway.hostnames, and a Gateway takes one kind of route for a host name; give another, or another listener with gateway.http.parentRefs" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lapis.checks.scaling" -}}
{{- $scaling := .Values.autoscaling -}}
{{- if ne $scaling.kind "none" -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas: %d is more than autoscaling.maxReplicas (%d)" (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- if not (or (float64 $scaling.busy.target) (float64 $scaling.queue.target)) -}}
{{- fail "autoscaling: with autoscaling.busy.target and autoscaling.queue.target both 0 there is nothing to scale by" -}}
{{- end -}}
{{- if gt (float64 $scaling.busy.target) 1.0 -}}
{{- fail (printf "autoscaling.busy.target: %v is more than 1, the share of lanes that are all busy" $scaling.busy.target) -}}
{{- end -}}
{{- if and $scaling.keda.authModes (not $scaling.keda.authentication) -}}
{{- fail "autoscaling.keda.authModes: name the TriggerAuthentication with autoscaling.keda.authentication" -}}
{{- end -}}
{{- if and (eq $scaling.kind "keda") (not $scaling.keda.prometheus) -}}
{{- fail "autoscaling.kind is keda: say where Prometheus is with autoscaling.keda.prometheus" -}}
{{- end -}}
{{- if and (eq $scaling.kind "hpa") (not .Values.monitoring.rules.enabled) -}}
{{- fail "autoscaling.kind is hpa: its measures are recording rules; set monitoring.rules.enabled (or use keda, which asks Prometheus itself)" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lapis.checks.tls" -}}
{{- $tls := .Values.tls -}}
{{- if and $tls.secretName (not $tls.enabled) -}}
{{- fail "tls.secretName: set tls.enabled too" -}}
{{- end -}}
{{- if and $tls.enabled (not $tls.secretName) (not $tls.certManager.enabled) -}}
{{- fail "tls.enabled: name the Secret with tls.secretName, or set tls.certManager.enabled" -}}
{{- end -}}
{{- if and $tls.certManager.enabled (not $tls.enabled) -}}
{{- fail "tls.certManager.enabled: set tls.enabled too" -}}
{{- end -}}
{{- if and $tls.certManager.enabled $tls.secretName -}}
{{- fail "tls.secretName and tls.certManager.enabled: the certificate comes from one or the other" -}}
{{- end -}}
{{- if and $tls.certManager.enabled (not $tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.enabled: name the issuer with tls.certManager.issuerRef, as in {name: internal, kind: ClusterIssuer}; it must sign names that end in .svc, as public authorities do not" -}}
{{- end -}}
{{- if and $tls.clientCASecretName (not $tls.enabled) -}}
{{- fail "tls.clientCASecretName: set tls.enabled too" -}}
{{- end -}}
{{- if and .Values.test.clientSecretName (not $tls.enabled) -}}
{{- fail "test.clientSecretName: only TLS asks for a certificate; set tls.enabled too" -}}
{{- end -}}
{{- end -}}
