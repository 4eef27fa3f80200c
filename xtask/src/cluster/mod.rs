//! `cargo xtask cluster`: a real Kubernetes of one node on this machine, and vfiod's checks there.
//!
//! ```text
//! programs    Kubernetes', built from Debian's source and kept in the cache; etcd, containerd and runc are Debian's packages
//! namespaces  of processes, mounts and the network: nothing of the cluster outlives the task
//! checks      package vfiod-tests, `cluster-checks`: build-and-deploy, the CR, pods, and what is killed in any order
//! ```
//!
//! The host's devices are simulated: a kernel with VFIO and devices behind an IOMMU is what `cargo xtask vm` has.

mod kubernetes;

use crate::{
    kubectl, process,
    vm::{
        Unavailable,
        tools::{Need, all_present},
    },
    workspace::{self, Profile},
};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const NEEDS: [Need; 9] = [
    Need { name: "etcd", package: "etcd-server", present: || process::find("etcd").is_some() },
    Need { name: "containerd", package: "containerd", present: || process::find("containerd").is_some() },
    Need { name: "runc", package: "runc", present: || process::find("runc").is_some() },
    Need {
        name: "CNI's plugin `bridge`",
        package: "containernetworking-plugins",
        present: || Path::new("/usr/lib/cni/bridge").is_file(),
    },
    Need { name: "busybox", package: "busybox-static", present: || process::find("busybox").is_some() },
    Need { name: "ip", package: "iproute2", present: || process::find("ip").is_some() },
    Need { name: "setpriv", package: "util-linux", present: || process::find("setpriv").is_some() },
    Need { name: "unshare", package: "util-linux", present: || process::find("unshare").is_some() },
    kubectl::NEED,
];

/// Starts what it is given as a child, and takes care of processes that lose their parent: it is the first one.
const INIT: &str = r#""$@"; exit $?"#;
/// Where the folder is that a kernel without VFIO lacks.
const NODES: &str = "/dev/vfio";

/// What to do on the cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Build Kubernetes again although it is cached
    #[arg(long)]
    refresh: bool,
    /// A command to run on the cluster instead of the checks, such as `bash`; kubectl in it speaks to this cluster
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The exit code for "this machine cannot run the checks", as automake's test drivers use it.
const SKIPPED: u8 = 77;

/// Runs the task: 0 all is well, 1 not, 77 this machine cannot run it.
///
/// # Errors
/// When something cannot be built.
pub fn main(args: &Args) -> Result<ExitCode> {
    match run(args) {
        Err(error) => match error.downcast_ref::<Unavailable>() {
            Some(reason) => {
                eprintln!("skipped: {reason}");
                Ok(ExitCode::from(SKIPPED))
            }
            None => Err(error),
        },
        done => done,
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        return Err(Unavailable("a kubelet needs root".to_owned()).into());
    }
    all_present("cluster", &NEEDS)?;
    let root = workspace::root();
    if root.starts_with("/run") || root.starts_with("/var/lib") || root.starts_with("/var/log") {
        return Err(Unavailable(format!("{} is in a folder that the cluster has of its own", root.display())).into());
    }
    let programs = kubernetes::find_or_build(args.refresh)?;
    let built = workspace::build(&[("vfiod-tests", "cluster-checks")], Profile::Debug)?;
    let checks = built.get("cluster-checks").context("cargo built no cluster-checks")?;
    let scratch = Scratch::new(workspace::target()?.join("cluster"))?;

    // Whatever ends this task ends the cluster.
    let mut unshare = Command::new("setpriv");
    unshare.args(["--pdeathsig", "KILL", "unshare"]).args([
        "--mount",
        "--pid",
        "--net",
        "--uts",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
        INIT,
        "sh",
    ]);
    unshare.arg(checks).arg(programs).arg(&scratch.folder).arg(&root).args(&args.command);
    let status = unshare.status().context("cannot run unshare")?;
    if !status.success() {
        scratch.keep();
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the cluster writes, and what it leaves outside of its namespaces.
struct Scratch {
    folder: PathBuf,
    had_nodes: bool,
}

impl Scratch {
    fn new(folder: PathBuf) -> Result<Self> {
        // A run that was interrupted has left its control groups.
        remove_control_groups();
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { folder, had_nodes: Path::new(NODES).exists() })
    }

    /// Leaves the logs, and says where.
    fn keep(&self) {
        println!("the logs are in {}", self.folder.join("logs").display());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.had_nodes {
            drop(fs::remove_dir(NODES));
        }
        drop(fs::remove_dir_all(self.folder.join("containerd")));
        drop(fs::remove_dir_all(self.folder.join("etcd")));
        remove_control_groups();
    }
}

fn remove_control_groups() {
    // One by one, the innermost first: the kernel removes none that has others in it.
    let mut find = Command::new("find");
    find.args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*/vfiod-cluster*", "-exec", "rmdir", "{}", ";"]);
    drop(process::output(&mut find));
}
