{{- /* Written by `make chart`; do not edit. */ -}}
{{- define "voke-fleet.rules.watched" -}}
# What people declare.
- apiGroups: ["voke.lovinka.com"]
  resources: ["plants", "deviceprofiles", "gatewaypools"]
  verbs: ["get", "list", "watch"]
# Conditions, and which keys are in force.
- apiGroups: ["voke.lovinka.com"]
  resources: ["plants/status", "gatewaypools/status"]
  verbs: ["patch"]
# Keys of plants, bundles of gateways, and Secrets that Plants refer to; watched as metadata only.
- apiGroups: [""]
  resources: ["secrets"]
  verbs: ["get", "list", "watch", "create", "update", "delete"]
# One per gateway.
- apiGroups: ["apps"]
  resources: ["statefulsets"]
  verbs: ["get", "list", "watch", "create", "patch", "delete"]
# One per gateway.
- apiGroups: [""]
  resources: ["services"]
  verbs: ["get", "list", "watch", "create", "patch", "delete"]
# One per pool: not all gateways are drained at once.
- apiGroups: ["policy"]
  resources: ["poddisruptionbudgets"]
  verbs: ["get", "list", "watch", "create", "patch", "delete"]
# One per pool: what gateways may reach.
- apiGroups: ["networking.k8s.io"]
  resources: ["networkpolicies"]
  verbs: ["get", "list", "watch", "create", "patch", "delete"]
# Where gateways are to be asked how they are.
- apiGroups: [""]
  resources: ["pods"]
  verbs: ["get", "list", "watch"]
# An annotation that makes kubelet refresh a changed bundle at once; pods/status cannot change what a pod runs,
# as pods could, and the admission policy confines it to that annotation.
- apiGroups: [""]
  resources: ["pods/status"]
  verbs: ["patch"]
# What kubectl describe shows.
- apiGroups: [""]
  resources: ["events"]
  verbs: ["create", "patch"]
{{- end }}

{{- define "voke-fleet.rules.own" -}}
# Which replica leads.
- apiGroups: ["coordination.k8s.io"]
  resources: ["leases"]
  verbs: ["create"]
# Which replica leads.
- apiGroups: ["coordination.k8s.io"]
  resources: ["leases"]
  resourceNames: ["{{ .Values.lease.name }}"]
  verbs: ["get", "update"]
# The CA that issues client certificates.
- apiGroups: [""]
  resources: ["secrets"]
  verbs: ["create"]
# The CA that issues client certificates.
- apiGroups: [""]
  resources: ["secrets"]
  resourceNames: ["voke-fleet-ca"]
  verbs: ["get", "update"]
{{- end }}

{{- define "voke-fleet.rules.ownWithIssuer" -}}
# Which replica leads.
- apiGroups: ["coordination.k8s.io"]
  resources: ["leases"]
  verbs: ["create"]
# Which replica leads.
- apiGroups: ["coordination.k8s.io"]
  resources: ["leases"]
  resourceNames: ["{{ .Values.lease.name }}"]
  verbs: ["get", "update"]
# The CA that issues client certificates.
- apiGroups: [""]
  resources: ["secrets"]
  resourceNames: ["{{ .Values.issuer.secretName }}"]
  verbs: ["get"]
{{- end }}

{{- define "voke-fleet.secretTypes" -}}
["voke.lovinka.com/plant-credentials", "voke.lovinka.com/bundle", "voke.lovinka.com/fleet-ca"]
{{- end }}

{{- define "voke-fleet.bundleType" -}}
voke.lovinka.com/bundle
{{- end }}

{{- define "voke-fleet.fleetCaType" -}}
voke.lovinka.com/fleet-ca
{{- end }}

{{- define "voke-fleet.managedByLabel" -}}
app.kubernetes.io/managed-by
{{- end }}

{{- define "voke-fleet.managedBy" -}}
voke-operator
{{- end }}

{{- define "voke-fleet.gatewayLabels" -}}
app.kubernetes.io/name: voke-gateway
{{- end }}

{{- define "voke-fleet.gatewayApp" -}}
voke-gateway
{{- end }}

{{- define "voke-fleet.appLabel" -}}
app.kubernetes.io/name
{{- end }}

{{- define "voke-fleet.bundlePrefix" -}}
voke-bundle-
{{- end }}

{{- define "voke-fleet.gatewayPrefix" -}}
voke-gw-
{{- end }}

{{- define "voke-fleet.claim" -}}
outbox
{{- end }}

{{- define "voke-fleet.touched" -}}
voke.lovinka.com/bundle-generation
{{- end }}

{{- define "voke-fleet.gatewayPort" -}}
9100
{{- end }}
