{{/* Name of the release's objects. */}}
{{- define "thermograd.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* What selects the Pods of a component: (list . "server"). */}}
{{- define "thermograd.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of an object of a component: (list . "server"). */}}
{{- define "thermograd.labels" -}}
{{- $root := index . 0 -}}
{{ include "thermograd.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The same, of what monitoring reads. */}}
{{- define "thermograd.monitoringLabels" -}}
{{ include "thermograd.labels" (list . "monitoring") }}
{{- with .Values.monitoring.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "thermograd.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "thermograd.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "thermograd.image" -}}
{{- with .Values.image -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end }}

{{/* Whether the server itself speaks TLS: with Envoy in front that does. */}}
{{- define "thermograd.serverSpeaksTls" -}}
{{- if and .Values.tls.secretName (not .Values.envoy.enabled) }}true{{ end -}}
{{- end }}

{{/* Arguments of the server. */}}
{{- define "thermograd.arguments" -}}
- --listen_address=0.0.0.0:50051
- --http_address=0.0.0.0:9464
{{- range $name, $value := .Values.flags }}
{{- /* Numbers of values are floating-point ones to Helm, which would print 4e+09. */}}
{{- if kindIs "float64" $value }}
{{- if eq $value (floor $value) }}{{ $value = int64 $value }}{{ end }}
{{- end }}
- --{{ $name }}={{ $value }}
{{- end }}
{{- if include "thermograd.serverSpeaksTls" . }}
- --tls_certificate_file=/etc/thermograd/tls/{{ .Values.tls.certificateKey }}
- --tls_key_file=/etc/thermograd/tls/{{ .Values.tls.privateKeyKey }}
{{- with .Values.tls.clientCaKey }}
- --tls_client_ca_file=/etc/thermograd/tls/{{ . }}
{{- end }}
{{- end }}
{{- if .Values.tokens.secretName }}
- --token_file=/etc/thermograd/tokens/{{ .Values.tokens.key }}
{{- end }}
{{- if .Values.httpCredentials.secretName }}
- --http_credentials_file=/etc/thermograd/http-credentials/{{ .Values.httpCredentials.key }}
{{- end }}
{{- if not (and (include "thermograd.serverSpeaksTls" .) .Values.httpCredentials.secretName) }}
- --allow_insecure
{{- end }}
{{- end }}

{{/* Memory of the server: what its flags allow, and headroom. */}}
{{- define "thermograd.memory" -}}
{{- $bytes := add (int64 .Values.flags.max_memory_bytes) (int64 .Values.flags.max_probe_bytes) (int64 .Values.resources.memoryHeadroomBytes) -}}
{{ div (add $bytes 1048575) 1048576 }}Mi
{{- end }}

{{/*
How the server is probed: always a real call, because gRPC's listener may be dead in a process that
accepts connections. The kubelet's own call knows no TLS; the image's program does.
*/}}
{{- define "thermograd.probe" -}}
{{- if include "thermograd.serverSpeaksTls" . -}}
exec:
  command:
    - thermograd
    - probe
    - --address=localhost:50051
    - --tls_ca_file=/etc/thermograd/tls/{{ .Values.tls.caKey }}
    {{- if .Values.tls.clientCaKey }}
    - --tls_certificate_file=/etc/thermograd/tls/{{ .Values.tls.certificateKey }}
    - --tls_key_file=/etc/thermograd/tls/{{ .Values.tls.privateKeyKey }}
    {{- end }}
    - --timeout=3s
{{- else -}}
grpc:
  port: 50051
{{- end }}
{{- end }}

{{/* A container that can change nothing. */}}
{{- define "thermograd.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* A Pod of nobody: (user id). */}}
{{- define "thermograd.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Pods of a component over the nodes: (list . "server"). */}}
{{- define "thermograd.spread" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  matchLabelKeys: [pod-template-hash]
  labelSelector:
    matchLabels:
      {{- include "thermograd.selector" . | nindent 6 }}
{{- end }}

{{/* What Prometheus asks of a target; the limits are those of deploy/prometheus/prometheus.yml. */}}
{{- define "thermograd.scrapeLimits" -}}
sampleLimit: 30000
labelLimit: 16
labelNameLengthLimit: 64
labelValueLengthLimit: 256
bodySizeLimit: 64MB
{{- end }}

{{/* Where metrics are read. */}}
{{- define "thermograd.scrapeEndpoint" -}}
- port: metrics
  path: /metrics
  interval: {{ .Values.monitoring.scrapeIntervalSeconds }}s
  {{- with .Values.monitoring.basicAuth }}
  basicAuth:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
