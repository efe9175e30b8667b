{{/* Annotations for the pod template: where the pods' metrics are, and what is known of this release. */}}
{{- define "rollout-canary.annotations" -}}
{{- $v := index .Values "rollout-canary" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ $v.metrics.port | quote }}
prometheus.io/path: {{ $v.metrics.path | quote }}
{{- range $key, $value := dict "deploy-id" $v.deployId "commit" $v.commit "commit-time" $v.commitTime "traceparent" $v.traceparent "change" $v.change "note" $v.note }}
{{- with $value }}
rollout.monitoring/{{ $key }}: {{ . | quote }}
{{- end }}
{{- end }}
{{- if $v.drill }}
rollout.monitoring/drill: "true"
{{- end }}
{{- end }}
