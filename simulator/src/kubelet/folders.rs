//! The folders of a kubelet.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use vfiod_proto::KUBELET_CHECKPOINT;

use super::pods::PodSpec;

/// Removes every socket of the plugin folder and leaves the rest (manager.go, `CleanupPluginDirectory`).
pub(super) fn remove_sockets(plugin_dir: &Path) -> io::Result<()> {
    remove_entries(plugin_dir, |path| fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket()))
}

/// Removes everything of the plugin folder but the checkpoint and what `keep` names.
pub(super) fn wipe(plugin_dir: &Path, keep: &[&str]) -> io::Result<()> {
    remove_entries(plugin_dir, |path| {
        let name = path.file_name().unwrap_or_default();
        !path.is_dir() && name != KUBELET_CHECKPOINT && !keep.iter().any(|kept| name == *kept)
    })
}

fn remove_entries(folder: &Path, which: impl Fn(&Path) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if which(&path) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// `pkg/kubelet/kuberuntime/helpers.go`, `BuildPodLogsDirectory`, under the host's root.
fn pod_logs(host_root: &Path, pod: &PodSpec) -> PathBuf {
    host_root.join("var/log/pods").join(format!("{}_{}_{}", pod.namespace, pod.name, pod.uid))
}

/// Makes the folder of a pod's logs, with one folder a container.
pub(super) fn make_pod_logs(host_root: &Path, pod: &PodSpec) -> io::Result<()> {
    let folder = pod_logs(host_root, pod);
    fs::create_dir_all(&folder)?;
    for (_, container) in pod.all_containers() {
        fs::create_dir_all(folder.join(&container.name))?;
    }
    Ok(())
}

/// Removes the folder of a deleted pod's logs.
pub(super) fn remove_pod_logs(host_root: &Path, pod: &PodSpec) -> io::Result<()> {
    match fs::remove_dir_all(pod_logs(host_root, pod)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
