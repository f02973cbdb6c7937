{{/* The whole of hotspare.toml. A proxy's name is its host name, which is its pod's. */}}
{{- define "hotspare.config" -}}
{{- $root := . -}}
{{- $name := include "hotspare.name" . -}}
[proxy]
drain = "{{ .Values.proxy.drainSeconds }}s"
{{- include "hotspare.toml" .Values.proxy.config }}

[log]
{{- include "hotspare.toml" .Values.proxy.log }}

[admin]
listen = "0.0.0.0:9480"
{{- range .Values.admin.tokens }}

[[admin.token]]
name = {{ toJson .name }}
role = {{ toJson .role }}
token_file = "/etc/hotspare/admin/{{ .name }}"
{{- end }}

[links]
listen = "0.0.0.0:9481"

[store]
kind = {{ toJson .Values.store.kind }}
dir = "/var/lib/hotspare"
{{- include "hotspare.toml" .Values.store.config }}
{{- if eq .Values.store.kind "kubernetes" }}

[store.kubernetes]
lease = {{ toJson $name }}
namespace = {{ toJson .Release.Namespace }}
{{- with .Values.activeLabel }}
active_label = {{ toJson . }}
{{- end }}
{{- else if eq .Values.store.kind "etcd" }}

[store.etcd]
{{- include "hotspare.toml" (omit .Values.store.etcd "passwordSecret") }}
{{- if .Values.store.etcd.passwordSecret }}
password_file = "/etc/hotspare/etcd/password"
{{- end }}
{{- end }}
{{- range $instance := .Values.instances }}

[[instance]]
name = {{ toJson $instance.name }}
listen = "0.0.0.0:{{ $instance.port }}"
{{- include "hotspare.toml" $instance.config }}
{{- if $instance.members }}
{{- range $instance.members }}

[[instance.member]]
name = {{ toJson .name }}
address = {{ toJson .address }}
launcher = {{ include "hotspare.inline" .launcher }}
{{- end }}
{{- else }}
{{- range $ordinal := list 0 1 }}
{{- $pod := printf "%s-%s-%d" $name $instance.name $ordinal }}
{{- $host := printf "%s.%s-%s-members.%s.svc.%s" $pod $name $instance.name $root.Release.Namespace $root.Values.clusterDomain }}

[[instance.member]]
name = {{ toJson $pod }}
address = "{{ $host }}:1880"
launcher = { kind = "hotspare", url = "http://{{ $host }}:2880", token_file = "/etc/hotspare/links/{{ $pod }}" }
{{- end }}
{{- end }}
{{- range $instance.listeners }}

[[instance.listener]]
name = {{ toJson .name }}
listen = "0.0.0.0:{{ .port }}"
{{- if .memberPort }}
port = {{ .memberPort }}
{{- end }}
{{- include "hotspare.toml" (omit . "name" "port" "memberPort") }}
{{- end }}
{{- range $table, $keys := $instance.config }}
{{- if kindIs "map" $keys }}

[instance.{{ $table }}]
{{- include "hotspare.toml" (omit $keys "check") }}
{{- range $keys.check }}

[[instance.{{ $table }}.check]]
{{- include "hotspare.toml" . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range .Values.hooks }}

[[hook]]
{{- include "hotspare.toml" (omit . "events") }}
{{- with .events }}
on = {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}
