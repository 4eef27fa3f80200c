//! The simulated kubelet against a small plugin: each test says one thing that a plugin can rely on.

mod admission;
mod checkpoint;
mod life;
mod plugin;
mod pod_resources;
mod registration;
mod streams;

use std::time::Duration;

use super::{Kubelet, KubeletBuilder};
use plugin::TestPlugin;

const QAT: &str = "intel.com/qat";
/// Far more than anything here takes; a test that waits this long has failed.
const SOON: Duration = Duration::from_secs(10);

struct Setup {
    kubelet: Kubelet,
    plugin: TestPlugin,
    // Last: the folder goes when everything else is gone.
    _folder: tempfile::TempDir,
}

impl Setup {
    /// The plugin comes back on its old socket after a restart of the kubelet.
    async fn plugin_again(&self) -> TestPlugin {
        let plugin = TestPlugin::serve(&self.kubelet.plugin_dir().join("qat.sock"));
        plugin.list(&["0000:01:00.0", "0000:02:00.0"]);
        plugin.register(&self.kubelet, QAT).await.unwrap();
        listed(&self.kubelet, 2).await;
        plugin
    }
}

/// A kubelet in a fresh folder.
async fn kubelet(with: impl FnOnce(KubeletBuilder) -> KubeletBuilder) -> (Kubelet, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let kubelet = with(Kubelet::builder(folder.path())).start().await.unwrap();
    (kubelet, folder)
}

/// A kubelet and a registered plugin that lists `ids`, all healthy and without topology.
async fn setup(ids: &[&str], with: impl FnOnce(KubeletBuilder) -> KubeletBuilder) -> Setup {
    let (kubelet, folder) = kubelet(with).await;
    let plugin = TestPlugin::serve(&kubelet.plugin_dir().join("qat.sock"));
    plugin.list(ids);
    plugin.register(&kubelet, QAT).await.unwrap();
    listed(&kubelet, ids.len()).await;
    Setup { kubelet, plugin, _folder: folder }
}

async fn listed(kubelet: &Kubelet, count: usize) {
    let what = format!("{count} devices of {QAT} allocatable");
    kubelet.wait_for(&what, SOON, |state| state.allocatable(QAT) == count && state.is_connected(QAT)).await.unwrap();
}
