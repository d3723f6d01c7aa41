{{- define "gpu-cost-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "gpu-cost-exporter.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "gpu-cost-exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* What selects the pods. It can never be changed. */}}
{{- define "gpu-cost-exporter.selector" -}}
app.kubernetes.io/name: {{ include "gpu-cost-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gpu-cost-exporter.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "gpu-cost-exporter.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/component: exporter
app.kubernetes.io/part-of: gpu-cost-exporter
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The metadata of an object that the Prometheus Operator reads: (dict "root" $ "name" … "of" .Values.podMonitor) */}}
{{- define "gpu-cost-exporter.operated" -}}
name: {{ .name }}
namespace: {{ .of.namespace | default (include "gpu-cost-exporter.namespace" .root) }}
labels:
  {{- include "gpu-cost-exporter.labels" .root | nindent 2 }}
  {{- with .root.Values.releaseLabel }}
  release: {{ . | quote }}
  {{- end }}
  {{- with .of.additionalLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "gpu-cost-exporter.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "gpu-cost-exporter.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "gpu-cost-exporter.image" -}}
{{- $image := .Values.image.repository -}}
{{- with .Values.image.registry }}{{ $image = printf "%s/%s" . $image }}{{ end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $image .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "gpu-cost-exporter.configMap" -}}
{{- .Values.existingConfigMap | default (printf "%s-config" (include "gpu-cost-exporter.fullname" .)) -}}
{{- end -}}

{{- define "gpu-cost-exporter.webConfigSecret" -}}
{{- if .Values.webConfig.existingSecret -}}
{{- .Values.webConfig.existingSecret -}}
{{- else if .Values.webConfig.content -}}
{{- printf "%s-web-config" (include "gpu-cost-exporter.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* Whether only a privileged container reaches the devices: nobody opens them to one that requests no GPU. */}}
{{- define "gpu-cost-exporter.privileged" -}}
{{- if has .Values.driver.delivery (list "gke" "operator") }}true{{ end -}}
{{- end -}}

{{- define "gpu-cost-exporter.securityContext" -}}
{{- $context := deepCopy .Values.securityContext -}}
{{- if include "gpu-cost-exporter.privileged" . -}}
{{- /* Kubernetes refuses a privileged container that may not escalate, and seccomp does not confine it. */ -}}
{{- $context = merge (dict "privileged" true "allowPrivilegeEscalation" true) (omit $context "seccompProfile" "privileged" "allowPrivilegeEscalation") -}}
{{- end -}}
{{- if .Values.openshift.enabled -}}
{{- $context = merge $context (dict "seLinuxOptions" (dict "type" "spc_t")) -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{/* All nodes that somebody labels as having an NVIDIA GPU. */}}
{{- define "gpu-cost-exporter.affinity" -}}
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
      - matchExpressions:
          - { key: nvidia.com/gpu.present, operator: In, values: ["true"] }
      - matchExpressions:
          - { key: feature.node.kubernetes.io/pci-10de.present, operator: In, values: ["true"] }
      - matchExpressions:
          - { key: feature.node.kubernetes.io/pci-0302_10de.present, operator: In, values: ["true"] }
      - matchExpressions:
          - { key: feature.node.kubernetes.io/pci-0300_10de.present, operator: In, values: ["true"] }
      - matchExpressions:
          - { key: cloud.google.com/gke-accelerator, operator: Exists }
      - matchExpressions:
          - { key: accelerator, operator: In, values: [nvidia] }
      - matchExpressions:
          - { key: kubernetes.azure.com/accelerator, operator: In, values: [nvidia] }
      - matchExpressions:
          - { key: karpenter.k8s.aws/instance-gpu-manufacturer, operator: In, values: [nvidia] }
      - matchExpressions:
          - { key: eks.amazonaws.com/instance-gpu-manufacturer, operator: In, values: [nvidia] }
      - matchExpressions:
          - { key: karpenter.azure.com/sku-gpu-manufacturer, operator: In, values: [nvidia] }
      - matchExpressions:
          - { key: aliyun.accelerator/nvidia_name, operator: Exists }
      # Nodes of EKS' managed groups carry no label of a GPU; their types are those of the price catalogue.
      - matchExpressions:
          - key: node.kubernetes.io/instance-type
            operator: In
            values: [
              g3s.xlarge, g3.4xlarge, g3.8xlarge, g3.16xlarge, g4dn.metal, g4dn.xlarge, g4dn.2xlarge,
              g4dn.4xlarge, g4dn.8xlarge, g4dn.12xlarge, g4dn.16xlarge, g5.xlarge, g5g.metal, g5g.xlarge,
              g5g.2xlarge, g5g.4xlarge, g5g.8xlarge, g5g.16xlarge, g5.2xlarge, g5.4xlarge, g5.8xlarge,
              g5.12xlarge, g5.16xlarge, g5.24xlarge, g5.48xlarge, g6.xlarge, g6e.xlarge, g6e.2xlarge,
              g6e.4xlarge, g6e.8xlarge, g6e.12xlarge, g6e.16xlarge, g6e.24xlarge, g6e.48xlarge, g6f.large,
              g6f.xlarge, g6f.2xlarge, g6f.4xlarge, g6.2xlarge, g6.4xlarge, g6.8xlarge, g6.12xlarge, g6.16xlarge,
              g6.24xlarge, g6.48xlarge, g7e.2xlarge, g7e.4xlarge, g7e.8xlarge, g7e.12xlarge, g7e.24xlarge,
              g7e.48xlarge, g7.2xlarge, g7.4xlarge, g7.8xlarge, g7.12xlarge, g7.24xlarge, g7.48xlarge,
              gr6f.4xlarge, gr6.4xlarge, gr6.8xlarge, p2.xlarge, p2.8xlarge, p2.16xlarge, p3dn.24xlarge,
              p3.2xlarge, p3.8xlarge, p3.16xlarge, p4de.24xlarge, p4d.24xlarge, p5en.48xlarge, p5e.48xlarge,
              p5.4xlarge, p5.48xlarge, p6-b200.48xlarge, p6-b300.48xlarge
            ]
{{- end -}}

{{- define "gpu-cost-exporter.monitorEndpoint" -}}
port: metrics
interval: {{ .of.interval }}
scrapeTimeout: {{ .of.scrapeTimeout }}
{{- if eq .root.Values.webConfig.scheme "https" }}
scheme: https
{{- end }}
{{- with .of.tlsConfig }}
tlsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.basicAuth }}
basicAuth:
  {{- toYaml . | nindent 2 }}
{{- end }}
# `namespace` and `pod` on our lines are those of the pod that pays, not ours.
honorLabels: true
relabelings:
  # One node, one identity: otherwise every restart of the exporter would begin new counters, and the old ones would be
  # counted twice.
  - sourceLabels: [__meta_kubernetes_pod_node_name]
    targetLabel: instance
  # A Prometheus with shards gives a node to the same one for ever. By the address, which is what it takes otherwise, a
  # restarted exporter could come to another, which does not know what its counters were before.
  - sourceLabels: [__meta_kubernetes_pod_node_name]
    targetLabel: __tmp_hash
  {{- if not .of.jobLabel }}
  # The name that the alerts look for, whatever this object and its namespace are called.
  - targetLabel: job
    replacement: gpu-cost-exporter
  {{- end }}
  # On the lines of devices, which have no pod of their own, these would name the exporter as the one that pays.
  - action: labeldrop
    regex: pod|container|endpoint|service|namespace
  {{- with .of.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .of.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Whether an alert fires below its threshold, as its rule says: nothing is less than -Inf. (dict "root" $ "alert" "…") */}}
{{- define "gpu-cost-exporter.firesBelow" -}}
{{- $less := printf "< on \\(\\) group_left \\(\\) max\\(gpu_cost:threshold\\{alert=%q\\}" .alert -}}
{{- range $path, $_ := .root.Files.Glob "files/rules/alerts*.yml" -}}
{{- if regexMatch $less ($.root.Files.Get $path) }}true{{ end -}}
{{- end -}}
{{- end -}}

{{/*
The rules of settings.yml with what the values decide. The other rules have no constants, so this is the only file of
rules that is changed on its way.
*/}}
{{- define "gpu-cost-exporter.settings" -}}
{{- $file := .Files.Get "files/rules/settings.yml" | fromYaml -}}
{{- with $file.Error }}{{ fail (printf "files/rules/settings.yml: %s" .) }}{{ end -}}
{{- $rules := .Values.prometheusRule -}}
{{- $known := dict "thresholds" (list) "settings" (list) -}}
{{- range $group := $file.groups -}}
{{- if eq $group.name "gpu-cost.budgets" -}}
{{- range $.Values.budgets -}}
{{- $scope := default "cluster" .scope -}}
{{- $labels := dict "scope" $scope "period" "month" -}}
{{- if ne $scope "cluster" -}}
{{- $_ := set $labels $scope (required (printf "budgets: a budget with the scope %s needs its name" $scope) .name) -}}
{{- end -}}
{{- $_ := set $group "rules" (append $group.rules (dict "record" "gpu_cost_budget_dollars" "labels" $labels "expr" (printf "vector(%v)" .dollars))) -}}
{{- end -}}
{{- end -}}
{{- range $rule := $group.rules -}}
{{- $labels := default dict $rule.labels -}}
{{- range $kind, $label := dict "thresholds" "alert" "settings" "setting" -}}
{{- with get $labels $label -}}
{{- $_ := set $known $kind (append (get $known $kind) .) -}}
{{- if hasKey (get $rules $kind) . -}}
{{- $value := get (get $rules $kind) . -}}
{{- if and (eq (toString $value) "Inf") (include "gpu-cost-exporter.firesBelow" (dict "root" $ "alert" .)) -}}
{{- $value = "-Inf" -}}
{{- end -}}
{{- $_ := set $rule "expr" (printf "vector(%v)" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $rules.llmNamespaces (eq $rule.record "gpu_cost:llm_namespaces") -}}
{{- $_ := set $rule "expr" (printf "group by (cluster, namespace) (namespace:gpu_cost_dollars_per_hour:rate5m{namespace=~%q})" $rules.llmNamespaces) -}}
{{- end -}}
{{- if and $rules.grafanaUrl (eq $rule.record "gpu_cost:links") -}}
{{- $_ := set $rule "labels" (dict "grafana_url" (trimSuffix "/" $rules.grafanaUrl)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $kind, $names := $known -}}
{{- range $name, $_ := get $rules $kind -}}
{{- if not (has $name $names) -}}
{{- fail (printf "prometheusRule.%s.%s: there is no such one; there are %s" $kind $name (join ", " $names)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $file -}}
{{- end -}}
