//! What is asked of a cluster, through kubectl.

use crate::{kubectl::KUBECTL, process};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt,
    path::Path,
    process::{Command, Stdio},
};

const NAMESPACE: &str = "vfiod";
const DAEMON_SET: &str = "daemonset/vfiod";
const SELECTOR: &str = "app.kubernetes.io/name=vfiod";

/// The words behind `kubectl` that wait for a rollout.
pub(super) fn rollout(timeout: &str) -> [&str; 6] {
    ["--namespace", NAMESPACE, "rollout", "status", DAEMON_SET, timeout]
}

/// A cluster.
pub(super) struct Cluster<'a> {
    kubectl: &'a OsStr,
    context: Option<&'a str>,
}

impl<'a> Cluster<'a> {
    /// The cluster of a kubectl context, or of the current one.
    pub(super) fn new(context: Option<&'a str>) -> Self {
        Self { kubectl: OsStr::new(KUBECTL), context }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.kubectl);
        command.args(self.context.iter().flat_map(|context| ["--context", context])).args(words);
        command
    }

    /// The command as a person would type it.
    pub(super) fn shown(&self, words: &[&str]) -> String {
        process::shown(&self.command(words))
    }

    fn run(&self, command: &mut Command) -> Result<()> {
        let shown = process::shown(command);
        let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot run `{shown}`"))?;
        if !status.success() {
            bail!("`{shown}` failed ({status})");
        }
        Ok(())
    }

    /// The version of its API server: major and minor.
    pub(super) fn version(&self) -> Result<(u32, u32)> {
        let answer = self.json(&["version"]).context("the API server does not say of which version it is")?;
        version(&answer).with_context(|| format!("`kubectl version` names no version of the server: {answer}"))
    }

    /// Applies manifests.
    pub(super) fn apply(&self, manifests: &Path) -> Result<()> {
        self.run(self.command(&["apply", "--filename"]).arg(manifests))
    }

    /// Waits until every node runs the newest version; where that takes too long, shows what the pods say.
    pub(super) fn wait(&self, seconds: u64) -> Result<()> {
        let waited = self.run(&mut self.command(&rollout(&format!("--timeout={seconds}s"))));
        if waited.is_err() {
            eprintln!("the rollout is not through; this is how far it is:");
            drop(self.run(&mut self.command(&["--namespace", NAMESPACE, "get", "pods", "--output=wide"])));
            drop(self.run(&mut self.command(&["--namespace", NAMESPACE, "logs", DAEMON_SET, "--tail=20"])));
        }
        waited
    }

    /// Prints what each node serves.
    pub(super) fn report(&self) -> Result<()> {
        let nodes = self.json(&["get", "nodes"])?;
        let pods = self.json(&["--namespace", NAMESPACE, "get", "pods", "--selector", SELECTOR])?;
        for (node, pod) in running(&pods) {
            println!("\n{node} ({pod})");
            let resources = extended(&nodes, &node);
            if resources.is_empty() {
                println!("   the node has no device resources");
            }
            for (name, (capacity, allocatable)) in resources {
                println!("   {name:<40} capacity {capacity:>4}  allocatable {allocatable:>4}");
            }
            // What vfiod itself says of each device, and why.
            let words = ["--namespace", NAMESPACE, "exec", &pod, "--container=vfiod", "--", "vfiod", "devices"];
            if let Err(error) = self.run(&mut self.command(&words)) {
                eprintln!("   {error:#}");
            }
        }
        Ok(())
    }

    fn json(&self, words: &[&str]) -> Result<Value> {
        let output = process::output(self.command(words).arg("--output=json"))?;
        serde_json::from_slice(&output).context("kubectl wrote something that is no JSON")
    }
}

impl fmt::Display for Cluster<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.context {
            Some(context) => write!(f, "context {context}"),
            None => f.write_str("kubectl's current context"),
        }
    }
}

/// From `gitVersion`, such as `v1.27.3-gke.100`: `major` and `minor` have additions of vendors, and are empty in some builds.
fn version(answer: &Value) -> Option<(u32, u32)> {
    let text = answer.pointer("/serverVersion/gitVersion")?.as_str()?;
    let mut parts = text.trim_start_matches('v').split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// The running pods, by node.
fn running(pods: &Value) -> BTreeMap<String, String> {
    let text = |pod: &Value, pointer: &str| pod.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let pods = pods.get("items").and_then(Value::as_array).into_iter().flatten();
    pods.filter(|pod| text(pod, "/status/phase").as_deref() == Some("Running"))
        .filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none())
        .filter_map(|pod| Some((text(pod, "/spec/nodeName")?, text(pod, "/metadata/name")?)))
        .collect()
}

/// The resources of a node that a device plugin may serve: capacity and what of it is allocatable.
fn extended(nodes: &Value, name: &str) -> BTreeMap<String, (String, String)> {
    let nodes = nodes.get("items").and_then(Value::as_array).into_iter().flatten();
    let mut nodes = nodes.filter(|node| node.pointer("/metadata/name").and_then(Value::as_str) == Some(name));
    let Some(node) = nodes.next() else { return BTreeMap::new() };
    let counts = |field: &str| node.pointer(&format!("/status/{field}")).and_then(Value::as_object).cloned();
    let allocatable = counts("allocatable").unwrap_or_default();
    let count = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("0").to_owned();
    let capacity = counts("capacity").unwrap_or_default();
    let is_extended = |name: &str| name.contains('/') && !name.contains("kubernetes.io/");
    let names = capacity.iter().filter(|(name, _)| is_extended(name));
    names.map(|(name, value)| (name.clone(), (count(Some(value)), count(allocatable.get(name))))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn only_pods_that_stay_are_asked_and_only_device_resources_shown() {
        let pod = |name: &str, node: &str, phase: &str| json!({"metadata": {"name": name}, "spec": {"nodeName": node}, "status": {"phase": phase}});
        let mut leaving = pod("old", "a", "Running");
        leaving["metadata"]["deletionTimestamp"] = json!("2026-08-01T10:00:00Z");
        let pods = json!({"items": [leaving, pod("new", "a", "Running"), pod("other", "b", "Pending")]});
        assert_eq!(running(&pods), BTreeMap::from([("a".to_owned(), "new".to_owned())]));

        let counts = json!({"cpu": "8", "hugepages-1Gi": "0", "attachable.kubernetes.io/x": "1", "intel.com/qat": "2"});
        let nodes = json!({"items": [{"metadata": {"name": "a"}, "status": {"capacity": counts,
                                      "allocatable": {"intel.com/qat": "1"}}}]});
        let expected = BTreeMap::from([("intel.com/qat".to_owned(), ("2".to_owned(), "1".to_owned()))]);
        assert_eq!(extended(&nodes, "a"), expected);
        assert!(extended(&nodes, "c").is_empty());
    }

    #[test]
    fn the_servers_version_is_read_as_vendors_write_it() {
        let of = |text: &str| {
            version(
                &json!({"clientVersion": {"gitVersion": "v1.32.0"}, "serverVersion": {"gitVersion": text, "minor": ""}}),
            )
        };
        assert_eq!(of("v1.20.2"), Some((1, 20)));
        assert_eq!(of("v1.27.3-gke.100"), Some((1, 27)));
        assert_eq!(of("v1.33.1+k3s1"), Some((1, 33)));
        assert_eq!(of("master"), None);
        assert_eq!(version(&json!({"clientVersion": {"gitVersion": "v1.32.0"}})), None);
    }

    #[test]
    fn a_rollout_that_hangs_is_reported_with_what_the_pods_say() {
        let folder = tempfile::tempdir().unwrap();
        let (kubectl, calls) = (folder.path().join("kubectl"), folder.path().join("calls"));
        let script =
            format!("#!/bin/sh\necho \"$*\" >> {}\ncase \"$*\" in *rollout*) exit 1;; esac\n", calls.display());
        fs::write(&kubectl, script).unwrap();
        fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
        let cluster = Cluster { kubectl: kubectl.as_os_str(), context: Some("lab") };
        let error = cluster.wait(5).unwrap_err().to_string();
        assert!(error.contains("rollout status daemonset/vfiod --timeout=5s"), "{error}");
        let calls = fs::read_to_string(calls).unwrap();
        assert!(calls.lines().all(|line| line.starts_with("--context lab --namespace vfiod")), "{calls}");
        assert!(calls.contains("get pods") && calls.contains("logs daemonset/vfiod"), "{calls}");
    }
}
