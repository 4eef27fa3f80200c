//! Where the kubelet is: its plugin folder, and which kubelet listens there.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use vfiod_proto::KUBELET_SOCKET;

/// The kubelet's folders for device plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeletFolder {
    plugins: PathBuf,
    registry: PathBuf,
}

/// Which socket file it is: inode and time of last change (a new inode may get an old number).
pub type Identity = (u64, i64, i64);

/// What can be seen of the kubelet's registration socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KubeletSocket {
    /// The identity of the socket file; `None` while there is none. A restarted kubelet makes another one.
    pub identity: Option<Identity>,
    /// Grows whenever something was removed from the folder: each endpoint then looks whether its socket is still there.
    pub removals: u64,
}

impl KubeletFolder {
    /// The folders `device-plugins` and `plugins_registry` below the kubelet's own.
    #[must_use]
    pub fn below(kubelet_dir: &Path) -> Self {
        Self { plugins: kubelet_dir.join("device-plugins"), registry: kubelet_dir.join("plugins_registry") }
    }

    /// The folder `device-plugins`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.plugins
    }

    /// The folder that the kubelet's plugin watcher watches (kubelet: `pkg/kubelet/config/defaults.go`,
    /// `DefaultKubeletPluginsRegistrationDirName`).
    #[must_use]
    pub fn registry(&self) -> &Path {
        &self.registry
    }

    /// The kubelet's registration socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.plugins.join(KUBELET_SOCKET)
    }

    /// The identity of the registration socket.
    ///
    /// # Errors
    /// When the folder cannot be read; a missing socket is `None`.
    pub fn identity(&self) -> io::Result<Option<Identity>> {
        match std::fs::symlink_metadata(self.socket()) {
            Ok(meta) => Ok(Some((meta.ino(), meta.mtime(), meta.mtime_nsec()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
