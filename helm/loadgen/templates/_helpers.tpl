{{- define "loadgen.fullname" -}}
{{ .Release.Name }}
{{- end }}

{{- define "loadgen.selector" -}}
app.kubernetes.io/name: {{ include "loadgen.fullname" . }}
{{- end }}

{{- define "loadgen.labels" -}}
{{ include "loadgen.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-._" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* With a digest the tag is only for people. Who names neither gets the content that the published chart was released with. */}}
{{- define "loadgen.image" -}}
{{- with .Values.image -}}
{{- $released := index $.Chart.Annotations "rollout.monitoring/image-digest" -}}
{{- if .digest -}}
{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}@{{ .digest }}
{{- else if and $released (not .tag) -}}
{{ .repository }}@{{ $released }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Where the pods may run, and with which rights at the registry; those of helm test too. */}}
{{- define "loadgen.placement" -}}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $key := list "imagePullSecrets" "nodeSelector" "tolerations" "affinity" }}
{{- with index $.Values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
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
