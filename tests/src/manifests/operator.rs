//! The two kinds of the Prometheus operator that `deploy/overlays/monitoring` uses, as far as it uses them
//! (prometheus-operator: `pkg/apis/monitoring/v1/podmonitor_types.go`, `prometheusrule_types.go`).

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Metadata: labels and names alone.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "namespace")]
    _namespace: String,
    #[serde(rename = "labels", default)]
    _labels: BTreeMap<String, String>,
}

/// A thing with metadata and a specification.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Thing<T> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata")]
    _metadata: Metadata,
    #[serde(rename = "spec")]
    _spec: T,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PodMonitor {
    #[serde(rename = "selector")]
    _selector: k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
    #[serde(rename = "podMetricsEndpoints")]
    _endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Endpoint {
    #[serde(rename = "port")]
    _port: String,
    #[serde(rename = "path")]
    _path: String,
    #[serde(rename = "interval")]
    _interval: String,
    #[serde(rename = "relabelings", default)]
    _relabelings: Vec<Relabeling>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Relabeling {
    #[serde(rename = "sourceLabels")]
    _source_labels: Vec<String>,
    #[serde(rename = "targetLabel")]
    _target_label: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PrometheusRule {
    #[serde(rename = "groups")]
    _groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Group {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "rules")]
    _rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    #[serde(rename = "alert")]
    _alert: String,
    #[serde(rename = "expr")]
    _expr: String,
    #[serde(rename = "for")]
    _for: Option<String>,
    #[serde(rename = "labels")]
    _labels: BTreeMap<String, String>,
    #[serde(rename = "annotations")]
    _annotations: BTreeMap<String, String>,
}

/// Reads a PodMonitor.
///
/// # Errors
/// When a field is missing or not known.
pub(super) fn pod_monitor(value: &Value) -> Result<()> {
    serde_json::from_value::<Thing<PodMonitor>>(value.clone())?;
    Ok(())
}

/// Reads a PrometheusRule.
///
/// # Errors
/// When a field is missing or not known.
pub(super) fn prometheus_rule(value: &Value) -> Result<()> {
    serde_json::from_value::<Thing<PrometheusRule>>(value.clone())?;
    Ok(())
}
