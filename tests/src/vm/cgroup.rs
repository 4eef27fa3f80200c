//! Control groups as container runtimes make them for a pod's containers.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the unified hierarchy is mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// The id of the container; runtimes use 64 hex digits.
pub const CONTAINER: &str = "4f1a0c8d2b3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccdde";

/// How the kubelet and the runtime name cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// As slices and scopes of systemd.
    Systemd,
    /// As plain folders.
    Cgroupfs,
}

/// The cgroup of one container.
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// That of the container in the pod `uid`.
    pub fn of_pod(uid: &str, driver: Driver) -> Result<Self> {
        let path = match driver {
            // kubernetes: pkg/kubelet/cm/cgroup_manager_linux.go (ToSystemd); cri-containerd names the scope.
            Driver::Systemd => {
                let uid = uid.replace('-', "_");
                format!(
                    "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-{CONTAINER}.scope"
                )
            }
            Driver::Cgroupfs => format!("kubepods/burstable/pod{uid}/{CONTAINER}"),
        };
        let path = Path::new(ROOT).join(path);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    /// Puts a process into it.
    pub fn take_in(&self, pid: u32) -> Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
            .with_context(|| format!("process {pid} does not come into {}", self.path.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel refuses while a process is in one; each is left to the next pod then.
        let folders = self.path.ancestors().take_while(|path| *path != Path::new(ROOT));
        folders.for_each(|folder| drop(fs::remove_dir(folder)));
    }
}
