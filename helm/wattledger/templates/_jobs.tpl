{{/* What the Jobs, the pollers and the sync share. */}}

{{- define "wattledger.jobPod" -}}
{{- include "wattledger.pullSecrets" . }}
automountServiceAccountToken: false
enableServiceLinks: false
restartPolicy: Never
securityContext:
  {{- include "wattledger.podSecurity" . | nindent 2 }}
{{- end }}

{{/* (list $ kafka clickhouse clickhouse-secret) */}}
{{- define "wattledger.jobContainer" -}}
{{- $root := index . 0 -}}
image: {{ include "wattledger.image" (list $root "worker") }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
env:
  {{- if index . 1 }}
  {{- include "wattledger.kafkaEnv" (list $root "") | nindent 2 }}
  {{- end }}
  {{- if index . 2 }}
  {{- include "wattledger.clickhouseEnv" (list $root (index . 3)) | nindent 2 }}
  {{- end }}
  {{- include "wattledger.scratchEnv" $root | nindent 2 }}
securityContext:
  {{- include "wattledger.containerSecurity" $root | nindent 2 }}
resources:
  {{- toYaml $root.Values.grid.resources | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if index . 1 }}
  {{- include "wattledger.kafkaMounts" $root | nindent 2 }}
  {{- end }}
  {{- if index . 2 }}
  {{- include "wattledger.clickhouseMounts" $root | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "wattledger.jobVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{- include "wattledger.kafkaVolumes" . }}
{{- include "wattledger.clickhouseVolumes" . }}
{{- end }}
