{{- define "gatekeeper.fullname" -}}
{{ .Release.Name }}
{{- end }}

{{- define "gatekeeper.selector" -}}
app.kubernetes.io/name: {{ include "gatekeeper.fullname" . }}
{{- end }}

{{- define "gatekeeper.labels" -}}
{{ include "gatekeeper.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-._" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* With a digest the tag is only for people. Who names neither gets the content that the published chart was released with. */}}
{{- define "gatekeeper.image" -}}
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

{{/* Cluster-wide objects carry the namespace, so that two gatekeepers do not share one. */}}
{{- define "gatekeeper.clusterName" -}}
{{ .Release.Namespace }}-{{ include "gatekeeper.fullname" . }}
{{- end }}

{{- define "gatekeeper.notifySecret" -}}
{{ .Values.notify.existingSecret | default (printf "%s-notify" (include "gatekeeper.fullname" .)) }}
{{- end }}

{{- define "gatekeeper.newClaim" -}}
{{- with .Values.persistence }}{{ if and .enabled (not .existingClaim) (not .hostPath) (not $.Values.database.existingSecret) }}true{{ end }}{{ end }}
{{- end }}

{{- define "gatekeeper.replicas" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.database.existingSecret) }}
{{- fail "replicas over 1 need a ledger that they share: set database.existingSecret to a Secret with the DSN of a PostgreSQL database" }}
{{- end }}
{{- .Values.replicas }}
{{- end }}

{{/* Where the pods may run, and with which rights at the registry; those of helm test too. */}}
{{- define "gatekeeper.placement" -}}
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
{{- define "gatekeeper.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "gatekeeper.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
