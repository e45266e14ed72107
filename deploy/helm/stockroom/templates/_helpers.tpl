{{- define "stockroom.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end -}}
{{- with .Service }}-{{ . }}{{ end -}}
{{- end -}}

{{- /* A template once for all, or for each service with its own values before everybody's. */}}
{{- define "stockroom.each" -}}
{{- $whole := first . }}
{{- range $service, $own := $whole.Values.services | default (dict "" dict) }}
{{- $part := dict "Chart" $whole.Chart "Release" $whole.Release "Service" $service "Accounts" (ne $service "catalog") }}
{{- $_ := mergeOverwrite (deepCopy $whole.Values) $own | set $part "Values" }}
{{- with $service }}
---
{{ end }}
{{- include (last $) $part }}
{{- end }}
{{- end -}}

{{- define "stockroom.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Service | default "server" }}
{{- end -}}

{{- define "stockroom.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "stockroom.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "stockroom.databaseEnv" -}}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef: { name: {{ .Values.database.secret }}, key: {{ .Values.database.key }} }
{{- with .Values.database.directKey }}
- name: DATABASE_DIRECT_URL
  valueFrom:
    secretKeyRef: { name: {{ $.Values.database.secret }}, key: {{ . }} }
{{- end }}
{{- with .Values.ca }}{{- if or .configMap .secret }}
- { name: TLS_CA_FILE, value: /run/stockroom/ca/{{ .key }} }
{{- end }}{{- end }}
{{- end -}}

{{- define "stockroom.mounts" -}}
{{- if .Accounts }}
- { name: keys, mountPath: /run/stockroom/keys, readOnly: true }
{{- end }}
{{- with .Values.ca }}{{- if or .configMap .secret }}
- { name: ca, mountPath: /run/stockroom/ca, readOnly: true }
{{- end }}{{- end }}
{{- end -}}

{{- define "stockroom.volumes" -}}
{{- if .Accounts }}
- name: keys
  secret:
    secretName: {{ .Values.signingKeys.secret }}
    defaultMode: 0440
{{- end }}
{{- with .Values.ca }}
{{- if .configMap }}
- name: ca
  configMap: { name: {{ .configMap }} }
{{- else if .secret }}
- name: ca
  secret: { secretName: {{ .secret }}, defaultMode: 0440 }
{{- end }}
{{- end }}
{{- end -}}

{{- define "stockroom.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "stockroom.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}
