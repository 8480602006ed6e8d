{{- define "postbell.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "postbell.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "postbell.labels" -}}
{{ include "postbell.selectorLabels" . }}
app.kubernetes.io/component: {{ .Values.mode }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "postbell.secretName" -}}
{{- .Values.secret.existingSecret | default (include "postbell.fullname" .) -}}
{{- end -}}

{{- /* The ports of the mode: name and number. */ -}}
{{- define "postbell.ports" -}}
{{- if ne .Values.mode "platform" }}
- { name: relay, port: 8080 }
{{- end }}
{{- if ne .Values.mode "relay" }}
- { name: platform, port: 8081 }
{{- end }}
{{- end -}}

{{- /* Refuses values that cannot work, with what to set instead. */ -}}
{{- define "postbell.check" -}}
{{- if and (gt (int .Values.replicas) 1) (eq .Values.store "sqlite") -}}
{{- fail "replicas must be 0 or 1 with store sqlite: each pod would have its own users and its own queue. With store postgres, pods share them" -}}
{{- end -}}
{{- if and (ne .Values.mode "platform") (not .Values.relay.audience) -}}
{{- fail (printf "mode %s needs relay.audience, the public base URL of the relay, such as https://push.example.com" .Values.mode) -}}
{{- end -}}
{{- if and (ne .Values.mode "relay") (not .Values.platform.url) -}}
{{- fail (printf "mode %s needs platform.url, the public base URL of the pages, such as https://bell.example.com" .Values.mode) -}}
{{- end -}}
{{- if and (eq .Values.mode "relay") (not .Values.directory.url) -}}
{{- fail "mode relay needs directory.url, the base URL of the platform" -}}
{{- end -}}
{{- if not (or .Values.secret.existingSecret .Values.secret.values) -}}
{{- fail "secret.existingSecret is required, the name of a Secret whose keys are variables (or secret.values, its content)" -}}
{{- end -}}
{{- if and .Values.secret.existingSecret .Values.secret.values -}}
{{- fail "set secret.existingSecret or secret.values, not both" -}}
{{- end -}}
{{- if not .Values.secret.existingSecret -}}
{{- $wanted := ternary (list "POSTBELL_DIRECTORY__API_KEY") (list "POSTBELL_PLATFORM__API_KEY" "POSTBELL_PLATFORM__GATEWAY_SECRET") (eq .Values.mode "relay") -}}
{{- if eq .Values.store "postgres" -}}
{{- if ne .Values.mode "platform" }}{{ $wanted = append $wanted "POSTBELL_RELAY__INBOX" }}{{ end -}}
{{- if ne .Values.mode "relay" }}{{ $wanted = append $wanted "POSTBELL_PLATFORM__STORE" }}{{ end -}}
{{- end -}}
{{- range $wanted -}}
{{- if not (get $.Values.secret.values .) -}}
{{- fail (printf "mode %s needs %s in secret.values" $.Values.mode .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
