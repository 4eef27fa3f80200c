//! The manifests of `deploy/`, read as strictly as the schemas of Kubernetes allow, and held against vfiod's own rules.
//!
//! `cargo xtask build-and-deploy` and the tests share this: what is applied is what was checked.

mod operator;
mod policy;
mod queries;
mod strict;

pub use policy::{Confinement, breaches, confinement, given};
pub use queries::{Asked, asked};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Namespace, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use serde_json::Value;
use std::{path::Path, process::Command};
use strict::strict;

/// One object of a rendered overlay.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its kind.
    pub kind: String,
    /// Its namespace, where it has one, and its name.
    pub name: String,
    /// Its whole text, as JSON.
    pub value: Value,
}

/// Reads what `kubectl kustomize` wrote; every field of every object must be one that its schema knows.
///
/// # Errors
/// When something is no YAML, no object of a kind that vfiod uses, or has fields that Kubernetes would ignore.
pub fn read(yaml: &str) -> Result<Vec<Object>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).context("this is no YAML")?;
    if documents.is_empty() {
        bail!("there is no object in it");
    }
    documents.into_iter().map(object).collect()
}

fn object(value: Value) -> Result<Object> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let kind = text("/kind").context("an object names no kind")?;
    let version = text("/apiVersion").with_context(|| format!("a {kind} names no apiVersion"))?;
    let bare = text("/metadata/name").with_context(|| format!("a {kind} has no name"))?;
    let name = text("/metadata/namespace").map_or_else(|| bare.clone(), |namespace| format!("{namespace}/{bare}"));
    let checked = match (version.as_str(), kind.as_str()) {
        ("v1", "Namespace") => strict::<Namespace>(&value).map(drop),
        ("v1", "ServiceAccount") => strict::<ServiceAccount>(&value).map(drop),
        ("v1", "ConfigMap") => strict::<ConfigMap>(&value).map(drop),
        ("apps/v1", "DaemonSet") => strict::<DaemonSet>(&value).map(drop),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => strict::<ClusterRole>(&value).map(drop),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => strict::<ClusterRoleBinding>(&value).map(drop),
        ("rbac.authorization.k8s.io/v1", "Role") => strict::<Role>(&value).map(drop),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => strict::<RoleBinding>(&value).map(drop),
        ("monitoring.coreos.com/v1", "PodMonitor") => operator::pod_monitor(&value),
        ("monitoring.coreos.com/v1", "PrometheusRule") => operator::prometheus_rule(&value),
        _ => bail!("{kind} {name}: nobody here knows {version} {kind}"),
    };
    checked.with_context(|| format!("{kind} {name}"))?;
    Ok(Object { kind, name, value })
}

/// The only DaemonSet among `objects`.
///
/// # Errors
/// When there is none, or more than one.
pub fn daemon_set(objects: &[Object]) -> Result<DaemonSet> {
    let mut found = objects.iter().filter(|object| object.kind == "DaemonSet");
    let (Some(one), None) = (found.next(), found.next()) else { bail!("there is not exactly one DaemonSet") };
    strict(&one.value)
}

/// Renders an overlay with kubectl.
///
/// # Errors
/// When kubectl is missing, or does not understand the overlay.
pub fn render(overlay: &Path) -> Result<String> {
    let kubectl = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
    let output = Command::new(kubectl).arg("kustomize").arg(overlay).output().context("cannot run kubectl")?;
    if !output.status.success() {
        bail!("kubectl kustomize {}: {}", overlay.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a, namespace: b}\n";

    #[test]
    fn an_object_is_named_and_kept() {
        let objects = read(&format!("{ACCOUNT}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: b}}\n")).unwrap();
        let names: Vec<String> = objects.iter().map(|one| format!("{} {}", one.kind, one.name)).collect();
        assert_eq!(names, ["ServiceAccount b/a", "Namespace b"]);
        assert!(daemon_set(&objects).is_err());
    }

    #[test]
    fn fields_that_kubernetes_would_ignore_are_told() {
        let error = format!("{:#}", read(&format!("{ACCOUNT}automountServiceAccountTokens: false\n")).unwrap_err());
        assert!(error.contains("b/a") && error.contains("automountServiceAccountTokens"), "{error}");
        assert!(read("kind: Namespace\nmetadata: {name: b}\n").is_err(), "no apiVersion");
        assert!(read("apiVersion: v1\nkind: Node\nmetadata: {name: b}\n").is_err(), "nothing that vfiod makes");
    }
}
