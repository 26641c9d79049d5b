{{- /* Names, labels and selectors: they come from here only. */ -}}

{{- define "voke-fleet.chart" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* What the names of the release's objects begin with. */ -}}
{{- define "voke-fleet.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "voke-fleet.chart" .) .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "voke-fleet.chart" .) | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "voke-fleet.operator" -}}
{{ include "voke-fleet.fullname" . }}-operator
{{- end }}

{{- /* Of an object of the cluster: releases of one name in several namespaces must not meet. */ -}}
{{- define "voke-fleet.clusterName" -}}
{{ include "voke-fleet.fullname" . }}.{{ .Release.Namespace }}
{{- end }}

{{- define "voke-fleet.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "voke-fleet.operator" .) .Values.serviceAccount.name }}
{{- else -}}
{{ required "serviceAccount.create is false: serviceAccount.name must be the account that the operator is to use" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- define "voke-fleet.selector" -}}
app.kubernetes.io/name: {{ include "voke-fleet.chart" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{- /* Of everything but pods. */ -}}
{{- define "voke-fleet.labels" -}}
app.kubernetes.io/name: {{ include "voke-fleet.chart" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: voke-fleet
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* Of the pod of `helm test`. */ -}}
{{- define "voke-fleet.testLabels" -}}
app.kubernetes.io/name: {{ include "voke-fleet.chart" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: test
{{- end }}

{{- /* An image by digest or tag; the argument is a list of it and the root. */ -}}
{{- define "voke-fleet.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default (index . 1).Chart.AppVersion $image.tag }}
{{- end -}}
{{- end }}

{{- define "voke-fleet.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.user }}
runAsUser: {{ int . }}
runAsGroup: {{ int . }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "voke-fleet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* What the operator reads with --defaults. */ -}}
{{- define "voke-fleet.defaults" -}}
image: {{ include "voke-fleet.image" (list .Values.gateway.image .) | quote }}
{{- with .Values.gateway.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- with .Values.gateway.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.gateway.serviceAccount }}
serviceAccount: {{ . | quote }}
{{- end }}
resources: {{- toYaml .Values.gateway.resources | nindent 2 }}
user: {{ if kindIs "invalid" .Values.gateway.user }}null{{ else }}{{ int .Values.gateway.user }}{{ end }}
{{- with .Values.defaultPool }}
pool: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
