{{- define "lakerunner.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "lakerunner.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.global.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "lakerunner.own" -}}
{{- if .own.create -}}{{ include "lakerunner.fullname" .root }}-{{ .name }}{{- else -}}{{ .name }}{{- end -}}
{{- end -}}

{{- define "lakerunner.apiKeys" -}}
{{- include "lakerunner.own" (dict "root" . "own" .Values.apiKeys "name" .Values.apiKeys.secretName) -}}
{{- end -}}

{{- define "lakerunner.storageProfiles" -}}
{{- include "lakerunner.own" (dict "root" . "own" .Values.storageProfiles "name" .Values.storageProfiles.configmapName) -}}
{{- end -}}

{{- define "lakerunner.serviceAccount" -}}
{{- include "lakerunner.own" (dict "root" . "own" .Values.serviceAccount "name" .Values.serviceAccount.name) -}}
{{- end -}}

{{- define "lakerunner.awsCredentials" -}}
{{- include "lakerunner.own" (dict "root" . "own" .Values.cloudProvider.aws "name" .Values.cloudProvider.aws.secretName) -}}
{{- end -}}

{{- /* One deployment: of root, name, component (its values) and args. */ -}}
{{- define "lakerunner.deployment" -}}
{{- $root := .root -}}
{{- $global := $root.Values.global -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "lakerunner.fullname" $root }}-{{ .name }}
  labels:
    {{- include "lakerunner.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
  {{- with $global.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  replicas: {{ .component.replicas }}
  selector:
    matchLabels:
      app.kubernetes.io/name: {{ $root.Chart.Name }}
      app.kubernetes.io/instance: {{ $root.Release.Name }}
      app.kubernetes.io/component: {{ .name }}
  template:
    metadata:
      labels:
        {{- include "lakerunner.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .name }}
      annotations:
        # Settings that change start the pods anew.
        checksum/settings: {{ printf "%s%s" (toYaml $root.Values.apiKeys) (toYaml $root.Values.storageProfiles) | sha256sum }}
        {{- if eq .name "serve" }}
        prometheus.io/scrape: "true"
        prometheus.io/port: "8080"
        prometheus.io/path: /metrics
        {{- end }}
    spec:
      serviceAccountName: {{ include "lakerunner.serviceAccount" $root }}
      automountServiceAccountToken: false
      # SIGTERM lets requests end and commits what has come.
      terminationGracePeriodSeconds: 90
      {{- with $global.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: {{ .name }}
          image: "{{ $global.image.repository }}:{{ $global.image.tag | default $root.Chart.AppVersion }}"
          imagePullPolicy: {{ $global.image.pullPolicy }}
          args:
            {{- range concat .args .component.extraArgs }}
            - {{ . | quote }}
            {{- end }}
          env:
            - name: LAKERUNNER_ORGANIZATION
              value: {{ $root.Values.lake.organization | quote }}
            {{- with $root.Values.lake.catalogSecretName }}
            - name: LAKERUNNER_CATALOG
              valueFrom:
                secretKeyRef:
                  name: {{ . }}
                  key: LAKERUNNER_CATALOG
            {{- end }}
            {{- with $root.Values.cloudProvider.aws.region }}
            - name: AWS_REGION
              value: {{ . | quote }}
            - name: AWS_DEFAULT_REGION
              value: {{ . | quote }}
            {{- end }}
            {{- if $root.Values.cloudProvider.aws.inject }}
            {{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
            - name: {{ . }}
              valueFrom:
                secretKeyRef:
                  name: {{ include "lakerunner.awsCredentials" $root }}
                  key: {{ . }}
            {{- end }}
            {{- end }}
            {{- with $global.env }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- if eq .name "serve" }}
          ports:
            - name: http
              containerPort: 8080
            {{- if .component.receive }}
            - name: otlp-http
              containerPort: 4318
            - name: otlp-grpc
              containerPort: 4317
            {{- end }}
          startupProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 2
            failureThreshold: 30
          livenessProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 10
            timeoutSeconds: 5
          readinessProbe:
            httpGet: {path: /readyz, port: http}
            periodSeconds: 10
            timeoutSeconds: 5
          {{- end }}
          {{- with .component.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          volumeMounts:
            - name: temporary
              mountPath: /tmp
            - name: temporary
              mountPath: /var/lib/lakerunner
              subPath: home
            - name: settings
              mountPath: /etc/lakerunner
              readOnly: true
      volumes:
        - name: temporary
          emptyDir:
            sizeLimit: {{ .component.temporaryStorage.size }}
        - name: settings
          {{- if eq .name "serve" }}
          secret:
            secretName: {{ include "lakerunner.apiKeys" $root }}
          {{- else }}
          configMap:
            name: {{ include "lakerunner.storageProfiles" $root }}
          {{- end }}
      {{- with $global.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $global.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $global.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}
