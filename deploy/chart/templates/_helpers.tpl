{{/* Names, labels, and how values become TOML. */}}

{{- define "hotspare.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "hotspare.labels" -}}
app.kubernetes.io/name: hotspare
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "hotspare.proxySelector" -}}
app.kubernetes.io/name: hotspare
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: proxy
{{- end }}

{{/* Call with (dict "root" $ "instance" $instance). */}}
{{- define "hotspare.memberSelector" -}}
app.kubernetes.io/name: hotspare
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: member
hotspare/pair: {{ .instance.name }}
{{- end }}

{{- define "hotspare.image" -}}
{{- $tag := .image.tag | default .appVersion -}}
{{- if .image.digest }}{{ .image.repository }}@{{ .image.digest }}{{ else }}{{ .image.repository }}:{{ $tag }}{{ end -}}
{{- end }}

{{/* One TOML line per key. JSON strings, numbers, booleans and lists of them are valid TOML as they are;
     tables are left out, their callers write them under a header. */}}
{{- define "hotspare.toml" -}}
{{- range $key, $value := . }}
{{- if not (kindIs "map" $value) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- end }}

{{/* The same as an inline table. */}}
{{- define "hotspare.inline" -}}
{ {{ $first := true }}{{ range $key, $value := . }}{{ if not $first }}, {{ end }}{{ $key }} = {{ toJson $value }}{{ $first = false }}{{ end }} }
{{- end }}

{{- define "hotspare.antiAffinity" -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" .labels) }}
podAntiAffinity:
{{- if eq .mode "required" }}
  requiredDuringSchedulingIgnoredDuringExecution:
    {{- list $term | toYaml | nindent 4 }}
{{- else }}
  preferredDuringSchedulingIgnoredDuringExecution:
    {{- list (dict "weight" 100 "podAffinityTerm" $term) | toYaml | nindent 4 }}
{{- end }}
{{- end }}

{{- define "hotspare.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "hotspare.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Namespace selectors of a NetworkPolicy peer list; nothing listed means everyone. */}}
{{- define "hotspare.peers" -}}
{{- range . }}
- namespaceSelector:
    matchLabels: {{- toYaml . | nindent 6 }}
{{- end }}
{{- end }}

{{/* Refuses values that would install something other than what they seem to say. */}}
{{- define "hotspare.validate" -}}
{{- if and .Values.activeLabel (ne .Values.store.kind "kubernetes") }}
{{- fail "activeLabel needs store.kind=kubernetes: with another store the proxies may ask the API server for nothing" }}
{{- end }}
{{- if and (eq .Values.store.kind "file") (gt (int .Values.proxy.replicas) 1) }}
{{- fail "store.kind=file is for one proxy: set proxy.replicas=1, or store.kind to kubernetes or etcd" }}
{{- end }}
{{- if and (eq .Values.store.kind "etcd") (not .Values.store.etcd.endpoints) }}
{{- fail "store.kind=etcd needs store.etcd.endpoints" }}
{{- end }}
{{- $ports := dict }}
{{- range $instance := .Values.instances }}
{{- range $listener := concat (list $instance) ($instance.listeners | default list) }}
{{- $port := toString $listener.port }}
{{- if hasKey $ports $port }}{{ fail (printf "port %s is used twice, the second time by instance %s" $port $instance.name) }}{{ end }}
{{- $_ := set $ports $port true }}
{{- end }}
{{- if not (has (len ($instance.members | default list)) (list 0 2)) }}
{{- fail (printf "instance %s: members must be two, or none for a pair installed by this chart" $instance.name) }}
{{- end }}
{{- end }}
{{- end }}
