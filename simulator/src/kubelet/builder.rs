//! How a kubelet is set up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::{Kubelet, StartError};

/// Which rules the kubelet follows where releases differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubeletVersion {
    /// 1.32, and every kubelet without kubernetes#135437: one client per resource name. When any stream of a name ends,
    /// the kubelet disconnects whatever client the name has by then.
    V1_32,
    /// With kubernetes#135437: clients are told apart by their socket path, and a second registration on a path that
    /// is still connected is refused.
    Newer,
}

/// When the kubelet hears from its pod sources (the API server) after a start. Until then it admits nothing, frees
/// nothing, and its PodResources lists no pod (`pkg/kubelet/config/sources.go`, `sourcesImpl.AllReady`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sources {
    /// Before the kubelet serves its sockets.
    #[default]
    AtOnce,
    /// This long after it serves them.
    After(Duration),
    /// When the test says so with [`Kubelet::sources_ready`].
    WhenTold,
}

/// What the kubelet gives as HTTP/2 `:authority` when it calls a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Authority {
    /// `localhost`: from 1.26 on (kubernetes#112597).
    #[default]
    Localhost,
    /// The path of the plugin's socket: before. grpc-go puts it in Huffman's code, since that is shorter
    /// (golang.org/x/net/http2/hpack, `appendHpackString`); other clients send it raw.
    Path {
        /// In Huffman's code.
        huffman: bool,
    },
    /// The path as newer releases of grpc-go escape it where nobody says `localhost` (`clientconn.go`, `encodeAuthority`).
    EscapedPath,
}

/// Everything that stays the same over restarts.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) kubelet_dir: PathBuf,
    pub(super) host_root: Option<PathBuf>,
    pub(super) version: KubeletVersion,
    pub(super) sources: Sources,
    pub(super) authority: Authority,
    pub(super) stop_grace: Duration,
    pub(super) dial_timeout: Duration,
    pub(super) pre_start_timeout: Duration,
    pub(super) watcher_pause: Duration,
    pub(super) affinity: Option<Vec<i64>>,
}

impl Config {
    pub(super) fn plugin_dir(&self) -> PathBuf {
        self.kubelet_dir.join("device-plugins")
    }

    pub(super) fn checkpoint_file(&self) -> PathBuf {
        self.plugin_dir().join(vfiod_proto::KUBELET_CHECKPOINT)
    }
}

/// Sets up a [`Kubelet`].
#[derive(Debug, Clone)]
pub struct KubeletBuilder {
    config: Config,
}

impl Kubelet {
    /// A kubelet whose folder is `kubelet_dir` (`/var/lib/kubelet` on a real node).
    pub fn builder(kubelet_dir: impl AsRef<Path>) -> KubeletBuilder {
        KubeletBuilder {
            config: Config {
                kubelet_dir: kubelet_dir.as_ref().to_path_buf(),
                host_root: None,
                version: KubeletVersion::Newer,
                sources: Sources::AtOnce,
                authority: Authority::Localhost,
                // types.go: endpointStopGracePeriod
                stop_grace: Duration::from_secs(5 * 60),
                // plugin/v1beta1/client.go: dial
                dial_timeout: Duration::from_secs(10),
                // kubelet/pkg/apis/deviceplugin/v1beta1/constants.go: KubeletPreStartContainerRPCTimeoutInSecs
                pre_start_timeout: Duration::from_secs(30),
                // pluginmanager/plugin_manager.go: loopSleepDuration
                watcher_pause: Duration::from_secs(1),
                affinity: None,
            },
        }
    }
}

impl KubeletBuilder {
    /// The release whose rules to follow (default: [`KubeletVersion::Newer`]).
    #[must_use]
    pub fn version(mut self, version: KubeletVersion) -> Self {
        self.config.version = version;
        self
    }

    /// Where to write `/var/log/pods/<namespace>_<pod>_<uid>`; nowhere by default.
    #[must_use]
    pub fn host_root(mut self, host_root: impl AsRef<Path>) -> Self {
        self.config.host_root = Some(host_root.as_ref().to_path_buf());
        self
    }

    /// When the pod sources are ready after this start and after each restart (default: [`Sources::AtOnce`]);
    /// [`Kubelet::set_sources`] changes it for the starts to come.
    #[must_use]
    pub fn sources(mut self, sources: Sources) -> Self {
        self.config.sources = sources;
        self
    }

    /// The `:authority` of its calls (default: [`Authority::Localhost`]).
    #[must_use]
    pub fn authority(mut self, authority: Authority) -> Self {
        self.config.authority = authority;
        self
    }

    /// How long the capacity of a resource stays after its stream ended (5 minutes in a real kubelet).
    #[must_use]
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.config.stop_grace = grace;
        self
    }

    /// How long the kubelet tries to reach a plugin that registers (10 seconds in a real kubelet).
    #[must_use]
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.config.dial_timeout = timeout;
        self
    }

    /// The deadline of `PreStartContainer` (30 seconds in a real kubelet).
    #[must_use]
    pub fn pre_start_timeout(mut self, timeout: Duration) -> Self {
        self.config.pre_start_timeout = timeout;
        self
    }

    /// How often the plugin watcher looks (every second in a real kubelet).
    #[must_use]
    pub fn watcher_pause(mut self, pause: Duration) -> Self {
        self.config.watcher_pause = pause;
        self
    }

    /// The NUMA nodes that a topology manager would hint for every container; no hint by default, as with the
    /// policy `none`.
    #[must_use]
    pub fn numa_affinity(mut self, nodes: impl IntoIterator<Item = i64>) -> Self {
        self.config.affinity = Some(nodes.into_iter().collect());
        self
    }

    /// Starts the kubelet: both sockets are served when this returns.
    ///
    /// # Errors
    /// When a folder or a socket cannot be made.
    pub async fn start(self) -> Result<Kubelet, StartError> {
        Kubelet::start(self.config).await
    }
}
