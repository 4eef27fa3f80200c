//! The programs of the cluster: started, killed, started again.

use super::{
    PATIENCE,
    setting::{API, Setting},
};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The API server's store.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers: of DaemonSets, of service accounts.
    Controllers,
    /// The scheduler.
    Scheduler,
    /// The container engine.
    Containerd,
    /// The kubelet.
    Kubelet,
}

impl Part {
    const fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::Controllers => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.program())
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Parts {
    programs: PathBuf,
    logs: PathBuf,
    arguments: BTreeMap<Part, Vec<String>>,
    admin: PathBuf,
    running: BTreeMap<Part, Child>,
}

impl Parts {
    pub(super) fn new(programs: &Path, setting: &Setting) -> Self {
        let etcd = [
            format!("--data-dir={}", setting.at("etcd").display()),
            "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
            "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
            "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        ];
        let containerd = ["--config".to_owned(), setting.at("containerd.toml").display().to_string()];
        let arguments = BTreeMap::from([
            (Part::Etcd, etcd.into()),
            (Part::ApiServer, setting.api_server()),
            (Part::Controllers, setting.controllers()),
            (Part::Scheduler, setting.scheduler()),
            (Part::Containerd, containerd.into()),
            (Part::Kubelet, setting.kubelet()),
        ]);
        let (programs, logs) = (programs.to_path_buf(), setting.at("logs"));
        Self { programs, logs, arguments, admin: setting.admin(), running: BTreeMap::new() }
    }

    /// Starts one, without waiting for it.
    pub(super) fn start(&mut self, part: Part) -> Result<()> {
        let ours = self.programs.join(part.program());
        let program = if ours.is_file() { ours } else { part.program().into() };
        let log = File::options().create(true).append(true).open(self.log(part))?;
        let child = Command::new(&program)
            .args(self.arguments.get(&part).into_iter().flatten())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        self.running.insert(part, child);
        Ok(())
    }

    /// Kills one, at once.
    pub(super) fn kill(&mut self, part: Part) -> Result<()> {
        let mut child = self.running.remove(&part).with_context(|| format!("{part} does not run"))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Waits until one answers.
    pub(super) fn wait(&mut self, part: Part) -> Result<()> {
        let begun = Instant::now();
        while !self.answers(part) {
            let ended = self.running.get_mut(&part).map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                bail!("{part} has ended ({status}); its log is {}", self.log(part).display());
            }
            if begun.elapsed() > PATIENCE {
                bail!("{part} does not answer; its log is {}", self.log(part).display());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn answers(&self, part: Part) -> bool {
        let socket = |path: &str| UnixStream::connect(path).is_ok();
        match part {
            Part::Etcd => TcpStream::connect("127.0.0.1:2379").is_ok(),
            Part::ApiServer => TcpStream::connect((API, 443)).is_ok() && self.api_server_is_ready(),
            Part::Containerd => socket("/run/containerd/containerd.sock"),
            Part::Kubelet => socket("/var/lib/kubelet/device-plugins/kubelet.sock"),
            Part::Controllers | Part::Scheduler => true,
        }
    }

    fn api_server_is_ready(&self) -> bool {
        let mut kubectl = Command::new("kubectl");
        kubectl.args(["get", "--raw", "/readyz"]).env("KUBECONFIG", &self.admin);
        kubectl.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
    }

    fn log(&self, part: Part) -> PathBuf {
        self.logs.join(part.program())
    }
}
