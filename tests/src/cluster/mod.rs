//! vfiod on a real Kubernetes: API server, controllers, scheduler, kubelet and containerd on this machine, in namespaces of
//! their own, with a simulated host behind vfiod. `cargo xtask cluster` builds and starts it.
//!
//! ```text
//! setting    folders, network, users and configuration files: of these namespaces alone
//! parts      the programs: started, killed, and when each is back
//! node       the simulated host, and what the node object of the API says of it
//! checks     what is to hold, a line each
//! ```

mod checks;
mod image;
mod kubectl;
mod kubevirt;
mod node;
mod parts;
mod setting;

use anyhow::{Context, Result, bail};
use kubectl::Kubectl;
use node::Host;
use parts::{Part, Parts};
use setting::Setting;
use std::{
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

/// How long anything that should happen may take; far longer than it does.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is given.
#[derive(Debug)]
pub struct Subject {
    /// The folder with Kubernetes' programs.
    pub programs: PathBuf,
    /// An empty folder for all that is written.
    pub scratch: PathBuf,
    /// The workspace.
    pub workspace: PathBuf,
    /// A command for people instead of the checks.
    pub command: Vec<String>,
}

/// A running cluster of one node.
struct Cluster {
    setting: Setting,
    parts: Parts,
    kubectl: Kubectl,
    host: Host,
    workspace: PathBuf,
}

/// Starts the cluster and makes the checks, or runs the command; says how many checks failed.
///
/// # Errors
/// When the cluster does not start.
pub fn run(subject: &Subject) -> Result<usize> {
    let mut cluster = start(subject)?;
    let failed = match subject.command.split_first() {
        None => checks::run(&mut cluster),
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).env("KUBECONFIG", cluster.setting.admin()).current_dir(&subject.workspace);
            let status = command.status().with_context(|| format!("cannot run {program}"))?;
            usize::from(!status.success())
        }
    };
    Ok(failed)
}

fn start(subject: &Subject) -> Result<Cluster> {
    let setting = Setting::make(&subject.scratch)?;
    let host = Host::make(&setting)?;
    let mut parts = Parts::new(&subject.programs, &setting);
    let kubectl = Kubectl::new(setting.admin());
    for part in [Part::Etcd, Part::ApiServer] {
        parts.start(part)?;
    }
    parts.wait(Part::ApiServer)?;
    for part in [Part::Containerd, Part::Controllers, Part::Scheduler] {
        parts.start(part)?;
    }
    parts.wait(Part::Containerd)?;
    image::import(&subject.scratch)?;
    parts.start(Part::Kubelet)?;
    kubevirt::install(&kubectl, &setting)?;
    let mut cluster = Cluster { setting, parts, kubectl, host, workspace: subject.workspace.clone() };
    cluster.until("the node is ready", |cluster| {
        let node = cluster.kubectl.json(&["get", "node", setting::NODE])?;
        let conditions = node.pointer("/status/conditions").and_then(serde_json::Value::as_array);
        Ok(conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    })?;
    Ok(cluster)
}

impl Cluster {
    /// Waits until something holds, and says how long that took.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> Result<bool>) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let last = match holds(self) {
                Ok(true) => return Ok(begun.elapsed()),
                Ok(false) => None,
                Err(error) => Some(error),
            };
            if begun.elapsed() > PATIENCE {
                let why = last.map(|error| format!(": {error:#}")).unwrap_or_default();
                bail!("in {} s it did not come to this: {what}{why}", PATIENCE.as_secs());
            }
            sleep(Duration::from_millis(20));
        }
    }
}
