//! A container as the DaemonSet describes it, on a simulated node.

use super::engine::Engine;
use anyhow::{Context, Result};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Container as Spec, PodSpec},
};
use std::{
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};
use vfiod::discovery::HostRoot;

/// The capabilities that containerd gives a container unless told otherwise (containerd: `oci/spec.go`,
/// `defaultUnixCaps`).
const USUAL: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Where the simulated host's `/sys`, `/dev`, `/proc` and `/var/log/pods` are mounted: a kernel cannot simulate its own.
const HOST: &str = "/host";

/// The folders that stand for those of the host.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    /// The simulated node.
    pub(super) host: PathBuf,
    /// The simulated kubelet's folder.
    pub(super) kubelet: PathBuf,
    /// Everything else that is mounted from the host.
    pub(super) others: PathBuf,
}

impl Folders {
    /// What stands for a folder of the host.
    fn instead_of(&self, path: &str) -> Result<PathBuf> {
        let path = Path::new(path);
        let stand_in = match path.strip_prefix("/var/lib/kubelet") {
            Ok(below) => self.kubelet.join(below),
            Err(_) => HostRoot::new(&self.others).at(path),
        };
        fs::create_dir_all(&stand_in).with_context(|| format!("cannot create {}", stand_in.display()))?;
        Ok(stand_in)
    }
}

/// A container that runs. Removed when dropped.
#[derive(Debug)]
pub(super) struct Running<'a> {
    engine: &'a Engine,
    id: String,
    log: PathBuf,
    pid: i32,
}

/// The profile that the container runs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seccomp<'a> {
    /// The engine's own: `RuntimeDefault`.
    Default,
    /// A file: `Localhost`.
    File(&'a Path),
}

/// How the container differs from the DaemonSet's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) id: &'a str,
    pub(super) reference: &'a str,
    pub(super) daemon_set: &'a DaemonSet,
    pub(super) folders: &'a Folders,
    pub(super) seccomp: Seccomp<'a>,
    /// Arguments behind those of the DaemonSet.
    pub(super) more: &'a [&'a str],
}

impl Start<'_> {
    /// Starts the DaemonSet's container.
    pub(super) fn run<'e>(&self, engine: &'e Engine) -> Result<Running<'e>> {
        let pod = self.daemon_set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let pod = pod.context("the DaemonSet has no pod")?;
        let spec = pod.containers.first().context("the pod has no container")?;
        let log = engine.folder().join(format!("{}.log", self.id));
        let mut arguments: Vec<String> = ["run", "--detach", "--snapshotter", "native"].map(str::to_owned).to_vec();
        arguments.push(format!("--log-uri=file://{}", log.display()));
        arguments.push(format!("--cgroup=/vfiod-image-checks/{}", self.id));
        arguments.extend(self.privileges(spec));
        arguments.extend(self.mounts(pod, spec)?);
        for variable in spec.env.iter().flatten() {
            // What the API server would fill in is left out, as where it is unknown.
            arguments.extend(variable.value.as_ref().map(|value| format!("--env={}={value}", variable.name)));
        }
        arguments.extend([self.reference.to_owned(), self.id.to_owned(), "/usr/bin/vfiod".to_owned()]);
        arguments.extend(spec.args.iter().flatten().cloned());
        arguments.push(format!("--host-root={HOST}"));
        arguments.extend(self.more.iter().map(|&word| word.to_owned()));
        engine.ctr(&arguments)?;
        let mut running = Running { engine, id: self.id.to_owned(), log, pid: 0 };
        running.pid = running.listed()?.0;
        Ok(running)
    }

    /// `hostPID` is left out: `ctr` gives every container a pid namespace, and the simulated host has a `/proc` of its own.
    fn privileges(&self, spec: &Spec) -> Vec<String> {
        let context = spec.security_context.clone().unwrap_or_default();
        let capabilities = context.capabilities.unwrap_or_default();
        let mut words: Vec<String> = USUAL.iter().map(|name| format!("--cap-drop={name}")).collect();
        words.extend(capabilities.add.iter().flatten().map(|name| format!("--cap-add=CAP_{name}")));
        if context.read_only_root_filesystem == Some(true) {
            words.push("--read-only".to_owned());
        }
        words.push("--seccomp".to_owned());
        if let Seccomp::File(path) = self.seccomp {
            words.push(format!("--seccomp-profile={}", path.display()));
        }
        words
    }

    fn mounts(&self, pod: &PodSpec, spec: &Spec) -> Result<Vec<String>> {
        let mut words =
            vec![format!("--mount=type=bind,src={},dst={HOST},options=rbind:ro", self.folders.host.display())];
        for mount in spec.volume_mounts.iter().flatten() {
            let volume = pod.volumes.iter().flatten().find(|volume| volume.name == mount.name);
            let volume = volume.with_context(|| format!("there is no volume {}", mount.name))?;
            let source = match &volume.host_path {
                Some(host) => self.folders.instead_of(&host.path)?,
                // ConfigMaps and the like: the checks put their contents there.
                None => self.folders.instead_of(&mount.mount_path)?,
            };
            let mode = if mount.read_only == Some(true) { "ro" } else { "rw" };
            words.push(format!(
                "--mount=type=bind,src={},dst={},options=rbind:{mode}",
                source.display(),
                mount.mount_path
            ));
        }
        Ok(words)
    }
}

impl Running<'_> {
    /// Its process, as the host knows it, and its state.
    fn listed(&self) -> Result<(i32, String)> {
        let tasks = self.engine.ctr(["task", "list"])?;
        let line = tasks.lines().find(|line| line.split_whitespace().next() == Some(&self.id));
        let mut words = line.context("the container is gone")?.split_whitespace().skip(1);
        let pid = words.next().context("no pid")?.parse()?;
        Ok((pid, words.next().unwrap_or_default().to_owned()))
    }

    /// Its process, as the host knows it.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// What it has logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs another vfiod in it, as `kubectl exec` does. Fails where that one fails.
    pub(super) fn exec(&self, arguments: &[&str]) -> Result<()> {
        let words = ["task", "exec", "--exec-id=check", &self.id, "vfiod"];
        self.engine.ctr(words.iter().chain(arguments)).map(drop)
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: &str) -> Result<()> {
        self.engine.ctr(["task", "kill", "--signal", signal, &self.id]).map(drop)
    }

    /// Whether its vfiod, which has ended, did so in good order: by its exit code, for the engine may lose the last lines of a log.
    pub(super) fn ended_well(&self) -> Result<()> {
        // `ctr` ends with the exit code of what it removes (containerd: `cmd/ctr/commands/tasks/delete.go`).
        let removed = self.engine.ctr(["task", "rm", &self.id]).map(drop);
        removed.with_context(|| format!("vfiod did not end in good order; its log is:\n{}", self.log()))
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> Result<bool> {
        Ok(self.listed()?.1 == "STOPPED")
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.engine.ctr(["task", "rm", "--force", &self.id]);
        let _ = self.engine.ctr(["container", "rm", &self.id]);
    }
}

/// The sockets in a folder.
pub(super) fn sockets(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_socket() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
