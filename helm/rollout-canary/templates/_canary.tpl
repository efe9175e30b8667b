{{/* The Canary. Values are read from the key "rollout-canary" alone; a chart that fills it from a key of its own names that one. */}}
{{- define "rollout-canary" }}
{{- $v := index .Values "rollout-canary" }}
{{- if $v.enabled }}
{{- $name := $v.name | default .Release.Name }}
{{- $host := required "rollout-canary.host is missing: the host of the service's Ingress" $v.host }}
{{- $nginx := eq $v.provider "nginx" }}
{{- $hooks := printf "%s/hooks/v1" (trimSuffix "/" $v.gatekeeper.url) }}
{{- $policy := printf "metadata: {policy: %s}" (quote $v.policy) }}
{{- if not (or $nginx $v.gatewayRefs) }}
{{- $key := .Key | default "rollout-canary" }}
{{- fail (printf "%s.provider gatewayapi:v1 needs %s.gatewayRefs" $key $key) }}
{{- end -}}
apiVersion: flagger.app/v1beta1
kind: Canary
metadata:
  name: {{ $name }}
  {{- with $v.labels }}
  labels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  provider: {{ $v.provider }}
  targetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ $name }}
  {{- if $v.autoscaler }}
  autoscalerRef:
    apiVersion: autoscaling/v2
    kind: HorizontalPodAutoscaler
    name: {{ $v.autoscalerName | default $name }}
  {{- end }}
  {{- if $nginx }}
  ingressRef:
    apiVersion: networking.k8s.io/v1
    kind: Ingress
    name: {{ $v.ingress | default $name }}
  {{- end }}
  progressDeadlineSeconds: {{ $v.progressDeadlineSeconds }}
  # Without it the primary and its Services would vanish together with a deleted Canary, the target still at 0 pods.
  revertOnDeletion: true
  service:
    {{- with $v.service.name }}
    name: {{ . }}
    {{- end }}
    port: {{ $v.service.port }}
    portName: {{ $v.service.portName }}
    targetPort: {{ $v.service.targetPort }}
    {{- if not $nginx }}
    hosts: [{{ $host | quote }}]
    gatewayRefs:
      {{- toYaml $v.gatewayRefs | nindent 6 }}
    {{- end }}
    {{- with $v.service.extra }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  analysis:
    interval: {{ $v.interval }}
    threshold: {{ $v.threshold }}
    stepWeights: {{ toJson $v.stepWeights }}
    {{- if and $nginx $v.backstop.enabled }}
    metrics:
      {{- with $v.backstop }}
      - name: ingress-success
        templateRef:
          {{- toYaml .template | nindent 10 }}
        templateVariables:
          minRequests: {{ .minRequests | quote }}
        thresholdRange: {min: {{ .minSuccess }}}
        interval: 1m
      {{- end }}
    {{- end }}
    # One URL per hook: the payload does not say which one it is. The gatekeeper answers from memory, so the time limits
    # only bound how long a hanging one can block Flagger.
    # muteAlert is spelled out in all: Flagger writes it when it saves the Canary, and a list that differs from ours would
    # then be Flagger's in the eyes of server-side apply, so that the next helm upgrade fails with a conflict.
    webhooks:
      - {name: approve, type: confirm-rollout, url: "{{ $hooks }}/confirm-rollout", timeout: 5s, muteAlert: true, {{ $policy }}}
      - {name: prepare, type: pre-rollout, url: "{{ $hooks }}/pre-rollout", timeout: 5s, muteAlert: false, retries: 1, {{ $policy }}}
      {{- if $v.load.enabled }}
      {{- include "rollout-canary.loadHook" (dict "type" "pre-rollout" "load" $v.load "host" $host) }}
      {{- end }}
      - {name: analyse, type: rollout, url: "{{ $hooks }}/rollout", timeout: 2s, muteAlert: false, retries: 1, {{ $policy }}}
      - {name: step, type: confirm-traffic-increase, url: "{{ $hooks }}/confirm-traffic-increase", timeout: 2s, muteAlert: true, {{ $policy }}}
      - {name: promote, type: confirm-promotion, url: "{{ $hooks }}/confirm-promotion", timeout: 2s, muteAlert: true, {{ $policy }}}
      # Here yes means: roll back now.
      - {name: abort, type: rollback, url: "{{ $hooks }}/rollback", timeout: 2s, muteAlert: false, {{ $policy }}}
      {{- /* Before the gatekeeper's: an error in one leaves out the rest, and load must not run on. */}}
      {{- if $v.load.enabled }}
      {{- include "rollout-canary.loadHook" (dict "type" "post-rollout" "load" $v.load "host" $host) }}
      {{- end }}
      - {name: record, type: post-rollout, url: "{{ $hooks }}/post-rollout", timeout: 5s, muteAlert: false, retries: 3, {{ $policy }}}
      - {name: events, type: event, url: "{{ $hooks }}/event", timeout: 2s, muteAlert: false, {{ $policy }}}
{{- end }}
{{- end }}

{{- /* The hook that starts or stops load at the load generator. */}}
{{- define "rollout-canary.loadHook" }}
      - name: load-{{ if eq .type "pre-rollout" }}start{{ else }}stop{{ end }}
        type: {{ .type }}
        url: "{{ trimSuffix "/" .load.url }}/hooks/v1/load"
        timeout: 5s
        retries: 1
        muteAlert: false
        metadata:
          url: {{ .load.target | quote }}
          host: {{ .load.host | default .host | quote }}
          method: {{ .load.method }}
          {{- if ne (default "" .load.shape.shape) "steps" }}
          rate: {{ .load.rate | quote }}
          duration: {{ .load.duration }}
          {{- end }}
          {{- range $key, $value := .load.shape }}
          {{ $key }}: {{ $value | quote }}
          {{- end }}
{{- end }}
