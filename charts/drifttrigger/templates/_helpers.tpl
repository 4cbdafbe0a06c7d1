{{/* Names are fixed: the operator's messages and the admission policies name them. */}}

{{- define "drifttrigger.labels" -}}
app.kubernetes.io/name: drifttrigger
{{ include "drifttrigger.releaseLabels" . }}
{{- end }}

{{- define "drifttrigger.releaseLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "drifttrigger.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Who runs execution: in a split installation an account of its own. */}}
{{- define "drifttrigger.executionAccount" -}}
{{ eq .Values.controllers "Split" | ternary "drifttrigger-execution" "drifttrigger" }}
{{- end }}

{{/* A role and its binding to service accounts. Takes root, name, the name of its rules, accounts and
     namespace; an empty namespace makes them cluster-wide. */}}
{{- define "drifttrigger.grant" -}}
{{- $kind := empty .namespace | ternary "ClusterRole" "Role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "drifttrigger.labels" .root | nindent 4 }}
rules:
  {{- include (printf "drifttrigger.%s" .rules) .root | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "drifttrigger.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ .name }}
subjects:
  {{- range .accounts }}
  - {kind: ServiceAccount, name: {{ . }}, namespace: {{ $.root.Release.Namespace }}}
  {{- end }}
{{- end }}
