{{- define "loadgen.fullname" -}}
{{ .Release.Name }}
{{- end }}

{{- define "loadgen.selector" -}}
app.kubernetes.io/name: {{ include "loadgen.fullname" . }}
{{- end }}

{{- define "loadgen.labels" -}}
{{ include "loadgen.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "loadgen.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Both security contexts meet the Pod Security Standard "restricted". */}}
{{- define "loadgen.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "loadgen.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
