//! Where the host's files are seen from here.

use std::path::{Path, PathBuf};

/// The folder below which the host's `/sys`, `/dev`, `/proc` and `/var/log/pods` are read: `/` on the host itself,
/// a mount point in a container, a temporary folder in tests.
///
/// It prefixes what vfiod reads and never what vfiod answers: the kubelet is always given the host's own paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoot(PathBuf);

impl HostRoot {
    /// The host as seen from this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where to read what the host calls `path`, such as `/sys/bus/pci`.
    #[must_use]
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The host's `/sys`.
    #[must_use]
    pub fn sys(&self) -> PathBuf {
        self.0.join("sys")
    }

    /// The host's `/dev`.
    #[must_use]
    pub fn dev(&self) -> PathBuf {
        self.0.join("dev")
    }

    /// The host's `/proc`.
    #[must_use]
    pub fn proc(&self) -> PathBuf {
        self.0.join("proc")
    }

    /// Whether this is the host of the running kernel, and not a folder that stands for one: whether its `/proc` is the
    /// kernel's. What the kernel itself says is then true of it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        let proc = rustix::fs::statfs(self.proc());
        proc.is_ok_and(|found| found.f_type == rustix::fs::PROC_SUPER_MAGIC)
    }

    /// The host's `/var/log/pods`, whose folder names tell a pod's name from its UID
    /// (kubelet: `pkg/kubelet/kuberuntime/helpers.go`, `BuildPodLogsDirectory`).
    #[must_use]
    pub fn pod_logs(&self) -> PathBuf {
        self.0.join("var/log/pods")
    }
}

impl Default for HostRoot {
    fn default() -> Self {
        Self::new("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_not_taken_for_the_host() {
        assert!(HostRoot::default().is_live());
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        assert!(!HostRoot::new(folder.path()).is_live());
        assert!(!HostRoot::new("/nonexistent").is_live());
    }

    #[test]
    fn a_path_of_the_host_stays_below_the_root() {
        let root = HostRoot::new("/host");
        assert_eq!(root.at("/dev/vfio/12"), Path::new("/host/dev/vfio/12"));
        assert_eq!(root.pod_logs(), Path::new("/host/var/log/pods"));
        assert_eq!(HostRoot::default().at("/sys/bus/pci"), Path::new("/sys/bus/pci"));
    }
}
