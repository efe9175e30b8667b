{{/* One name for Deployment, Canary, Ingress, HPA and PDB. Helm limits release names to 53 characters, so Flagger's suffixes fit. */}}
{{- define "podinfo-like.fullname" -}}
{{ .Release.Name }}
{{- end }}

{{/* Flagger wants one label in the selector; on its copy it becomes <fullname>-primary. */}}
{{- define "podinfo-like.selector" -}}
app.kubernetes.io/name: {{ include "podinfo-like.fullname" . }}
{{- end }}

{{/* Labels of the objects. Not for the pod template: a new chart version must not look like a new release. */}}
{{- define "podinfo-like.labels" -}}
{{ include "podinfo-like.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-._" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* With a digest the tag is only for people. Who names neither gets the content that the published chart was released with. */}}
{{- define "podinfo-like.image" -}}
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

{{- define "podinfo-like.chaosSecret" -}}
{{ .Values.chaos.existingSecret | default (printf "%s-chaos" (include "podinfo-like.fullname" .)) }}
{{- end }}

{{/* Where the pods may run, and with which rights at the registry; those of helm test too. */}}
{{- define "podinfo-like.placement" -}}
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
{{- define "podinfo-like.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "podinfo-like.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
