{{/* Names, labels and what several roles share. */}}

{{- define "wattledger.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "wattledger.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "wattledger.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "wattledger.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels that never change: (list $ role) */}}
{{- define "wattledger.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "wattledger.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "wattledger.labels" -}}
{{- $root := index . 0 -}}
{{ include "wattledger.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: wattledger
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* A role's image: (list $ role-of-the-image) */}}
{{- define "wattledger.image" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $own := (index $root.Values $role).image -}}
{{- $repository := default (printf "%s/wattledger-%s" (trimSuffix "/" $root.Values.image.registry) $role) $own.repository -}}
{{- if $own.digest -}}
{{ $repository }}@{{ $own.digest }}
{{- else -}}
{{ $repository }}:{{ default $root.Chart.AppVersion $root.Values.image.tag }}
{{- end }}
{{- end }}

{{- define "wattledger.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "wattledger.serviceAccountName" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.serviceAccount.create -}}
{{ include "wattledger.fullname" $root }}-{{ index . 1 }}
{{- else -}}
default
{{- end }}
{{- end }}

{{/* Nothing here needs more: no capability, no writable root, no way up. */}}
{{- define "wattledger.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "wattledger.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* How a role reaches Kafka: (list $ secret-of-the-role) */}}
{{- define "wattledger.kafkaEnv" -}}
{{- $kafka := (index . 0).Values.kafka -}}
{{- $secret := default $kafka.existingSecret (index . 1) -}}
- name: WATTLEDGER_KAFKA
  value: {{ $kafka.bootstrapServers | quote }}
- name: WATTLEDGER_KAFKA_PROTOCOL
  value: {{ $kafka.protocol }}
{{- if hasPrefix "sasl" $kafka.protocol }}
- name: WATTLEDGER_KAFKA_MECHANISM
  value: {{ $kafka.mechanism }}
- name: WATTLEDGER_KAFKA_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $kafka.usernameKey }}}
- name: WATTLEDGER_KAFKA_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $kafka.passwordKey }}}
{{- end }}
{{- if $kafka.ca.existingSecret }}
- name: WATTLEDGER_KAFKA_CA
  value: /etc/wattledger/kafka-ca/ca.crt
{{- end }}
{{- if $kafka.clientCertificateSecret }}
- name: WATTLEDGER_KAFKA_CERTIFICATE
  value: /etc/wattledger/kafka-client/tls.crt
- name: WATTLEDGER_KAFKA_KEY
  value: /etc/wattledger/kafka-client/tls.key
{{- end }}
{{- end }}

{{- define "wattledger.kafkaMounts" -}}
{{- if .Values.kafka.ca.existingSecret }}
- name: kafka-ca
  mountPath: /etc/wattledger/kafka-ca
  readOnly: true
{{- end }}
{{- if .Values.kafka.clientCertificateSecret }}
- name: kafka-client
  mountPath: /etc/wattledger/kafka-client
  readOnly: true
{{- end }}
{{- end }}

{{- define "wattledger.kafkaVolumes" -}}
{{- with .Values.kafka.ca }}
{{- if .existingSecret }}
- name: kafka-ca
  secret:
    secretName: {{ .existingSecret }}
    items:
      - {key: {{ .key }}, path: ca.crt}
{{- end }}
{{- end }}
{{- with .Values.kafka.clientCertificateSecret }}
- name: kafka-client
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{/* How a role reaches ClickHouse: (list $ secret-of-the-role) */}}
{{- define "wattledger.clickhouseEnv" -}}
{{- $clickhouse := (index . 0).Values.clickhouse -}}
{{- $secret := default $clickhouse.existingSecret (index . 1) -}}
- name: WATTLEDGER_CLICKHOUSE
  value: {{ $clickhouse.url | quote }}
{{- with $clickhouse.cluster }}
- name: WATTLEDGER_CLICKHOUSE_CLUSTER
  value: {{ . | quote }}
{{- end }}
- name: WATTLEDGER_CLICKHOUSE_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $clickhouse.usernameKey }}}
- name: WATTLEDGER_CLICKHOUSE_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $clickhouse.passwordKey }}}
{{- if $clickhouse.ca.existingSecret }}
- name: WATTLEDGER_CLICKHOUSE_CA
  value: /etc/wattledger/clickhouse-ca/ca.crt
{{- end }}
{{- end }}

{{- define "wattledger.clickhouseMounts" -}}
{{- if .Values.clickhouse.ca.existingSecret }}
- name: clickhouse-ca
  mountPath: /etc/wattledger/clickhouse-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "wattledger.clickhouseVolumes" -}}
{{- with .Values.clickhouse.ca }}
{{- if .existingSecret }}
- name: clickhouse-ca
  secret:
    secretName: {{ .existingSecret }}
    items:
      - {key: {{ .key }}, path: ca.crt}
{{- end }}
{{- end }}
{{- end }}

{{/* Numba and the worker's scratch; the root file system is read-only. */}}
{{- define "wattledger.scratchEnv" -}}
- name: WATTLEDGER_LOG_FORMAT
  value: {{ .Values.logFormat }}
- name: HOME
  value: /tmp
- name: NUMBA_CACHE_DIR
  value: /tmp/numba
{{- end }}

{{- define "wattledger.anywhere" -}}
- ipBlock: {cidr: 0.0.0.0/0}
- ipBlock: {cidr: "::/0"}
{{- end }}

{{/* Egress to the resolver. */}}
{{- define "wattledger.egressDns" -}}
- to:
    {{- if .Values.networkPolicy.dns }}
    {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
    {{- else }}
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
    {{- end }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{/* Egress to Kafka: the ports of its servers. */}}
{{- define "wattledger.egressKafka" -}}
{{- $ports := dict -}}
{{- range splitList "," .Values.kafka.bootstrapServers }}
{{- $_ := set $ports (last (splitList ":" (trim .))) true }}
{{- end }}
{{- range .Values.kafka.brokerPorts }}
{{- $_ := set $ports (toString .) true }}
{{- end -}}
- to:
    {{- if .Values.kafka.egress }}
    {{- toYaml .Values.kafka.egress | nindent 4 }}
    {{- else }}
    {{- include "wattledger.anywhere" . | nindent 4 }}
    {{- end }}
  ports:
    {{- range keys $ports | sortAlpha }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}

{{- define "wattledger.clickhousePort" -}}
{{- $host := (urlParse .Values.clickhouse.url).host -}}
{{- if contains ":" $host -}}
{{ last (splitList ":" $host) }}
{{- else if hasPrefix "https" .Values.clickhouse.url -}}
8443
{{- else -}}
8123
{{- end }}
{{- end }}

{{- define "wattledger.egressClickhouse" -}}
- to:
    {{- if .Values.clickhouse.egress }}
    {{- toYaml .Values.clickhouse.egress | nindent 4 }}
    {{- else }}
    {{- include "wattledger.anywhere" . | nindent 4 }}
    {{- end }}
  ports:
    - {protocol: TCP, port: {{ include "wattledger.clickhousePort" . }}}
{{- end }}

{{/* Who may scrape: (list $ port) */}}
{{- define "wattledger.ingressMetrics" -}}
{{- $root := index . 0 -}}
- from:
    {{- if $root.Values.networkPolicy.metricsFrom }}
    {{- toYaml $root.Values.networkPolicy.metricsFrom | nindent 4 }}
    {{- else }}
    - namespaceSelector: {}
    {{- end }}
  ports:
    - {protocol: TCP, port: {{ index . 1 }}}
{{- end }}

{{/* Whether anything here speaks to ClickHouse. */}}
{{- define "wattledger.hasDatabase" -}}
{{- if or .Values.worker.enabled .Values.api.enabled }}true{{ end }}
{{- end }}
