//! The kubelet as a process: start, stop, kill, restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::net::UnixListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use vfiod_proto::KUBELET_SOCKET;
use vfiod_proto::deviceplugin::registration_server::RegistrationServer;
use vfiod_proto::podresources::pod_resources_lister_server::PodResourcesListerServer;

use super::admission::{self, AdmissionError, sources_deliver};
use super::builder::{Config, Sources};
use super::checkpoint::Checkpoint;
use super::client;
use super::folders;
use super::pod_devices::RunOptions;
use super::pod_resources::Lister;
use super::pods::{AdmittedPod, Phase, PodSpec};
use super::registration::Registrar;
use super::start_container::{self, ContainerError};
use super::state::Shared;

/// Why a kubelet did not start, or a folder of it could not be changed.
#[derive(Debug, thiserror::Error)]
#[error("the simulated kubelet cannot {what} {}: {error}", path.display())]
pub struct StartError {
    what: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// A simulated kubelet. Dropping it kills it.
#[derive(Debug)]
pub struct Kubelet {
    pub(super) shared: Arc<Shared>,
    process: Mutex<Option<Process>>,
}

/// A runtime on a thread of its own: when it ends, every task and every connection of it ends.
#[derive(Debug)]
struct Process {
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Kubelet {
    pub(super) async fn start(config: Config) -> Result<Self, StartError> {
        let kubelet = Self { shared: Shared::new(config), process: Mutex::new(None) };
        kubelet.run(true).await?;
        Ok(kubelet)
    }

    async fn run(&self, containers_run: bool) -> Result<(), StartError> {
        let process = Process::new().map_err(|error| self.failed("start a thread for", error))?;
        let handle = process.handle.clone();
        *self.lock() = Some(process);
        let booted = handle.spawn(boot(Arc::clone(&self.shared), containers_run)).await;
        match booted {
            Ok(result) => result,
            Err(_) => Err(self.failed("start in", io::Error::other("it was killed while starting"))),
        }
    }

    /// Starts again after [`Kubelet::stop`] or [`Kubelet::kill`]; the containers of admitted pods run on.
    ///
    /// # Errors
    /// When a folder or a socket cannot be made.
    pub async fn start_again(&self) -> Result<(), StartError> {
        self.kill();
        self.run(true).await
    }

    /// Ends the process and starts it again, which removes every socket of the plugin folder. The containers of
    /// admitted pods run on.
    ///
    /// # Errors
    /// When a folder or a socket cannot be made.
    pub async fn restart(&self) -> Result<(), StartError> {
        self.start_again().await
    }

    /// Like [`Kubelet::restart`], but no container runs any more: pods are admitted anew, and refused when their plugin
    /// has not listed their devices as healthy by the time the pod sources deliver.
    ///
    /// # Errors
    /// When a folder or a socket cannot be made.
    pub async fn reboot(&self) -> Result<(), StartError> {
        self.kill();
        self.run(false).await
    }

    /// Ends the process in good order: closes the connections to the plugins and removes its sockets
    /// (plugin/v1beta1/server.go, `Stop`).
    pub async fn stop(&self) {
        let Some(handle) = self.handle() else { return };
        let shared = Arc::clone(&self.shared);
        let closing = handle.spawn(async move {
            let clients = shared.read().clients.all();
            clients.iter().for_each(|client| client::disconnect(&shared, client));
        });
        let _ = closing.await;
        self.kill();
        for socket in [self.plugin_dir().join(KUBELET_SOCKET), self.pod_resources_socket()] {
            if let Err(error) = fs::remove_file(&socket) {
                tracing::debug!(%error, socket = %socket.display(), "socket not removed");
            }
        }
    }

    /// Ends the process at once, as SIGKILL does: connections break, its sockets stay in the file system and refuse.
    pub fn kill(&self) {
        drop(self.lock().take());
        self.shared.update(|state| state.outlive(&self.shared.config));
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        self.lock().is_some()
    }

    /// When the pod sources are ready after the starts to come.
    pub fn set_sources(&self, sources: Sources) {
        self.shared.update(|state| state.sources = sources);
    }

    /// Lets PodResources answer `Unavailable` from now on, or serve again.
    pub fn refuse_pod_resources(&self, refuse: bool) {
        self.shared.update(|state| state.pod_resources_refuse = refuse);
    }

    /// Lets the pod sources deliver now (see [`Sources::WhenTold`]).
    pub async fn sources_ready(&self) {
        let Some(handle) = self.handle() else { return };
        let shared = Arc::clone(&self.shared);
        let _ = handle.spawn(async move { sources_deliver(&shared, true).await }).await;
    }

    /// Binds a pod to this node and admits it. Waits for the pods before it, and until the pod sources are ready.
    ///
    /// # Errors
    /// [`AdmissionError`] says whether the kubelet refused it, or never saw it.
    pub async fn admit(&self, pod: PodSpec) -> Result<AdmittedPod, AdmissionError> {
        let handle = self.handle().ok_or(AdmissionError::NotRunning)?;
        let admission = handle.spawn(admission::admit(Arc::clone(&self.shared), pod));
        admission.await.unwrap_or(Err(AdmissionError::NotRunning))
    }

    /// Starts a container of an admitted pod once. A kubelet would try again after an error.
    ///
    /// # Errors
    /// [`ContainerError`] carries what the plugin answered.
    pub async fn start_container(&self, uid: &str, container: &str) -> Result<RunOptions, ContainerError> {
        let handle = self.handle().ok_or(ContainerError::NotRunning)?;
        let start = start_container::start_container(Arc::clone(&self.shared), uid.to_owned(), container.to_owned());
        handle.spawn(start).await.unwrap_or(Err(ContainerError::NotRunning))
    }

    /// All containers of the pod have ended. Its devices are freed by the next admission or PodResources call. True
    /// when there is such a pod.
    pub fn finish_pod(&self, uid: &str) -> bool {
        self.shared.update(|state| state.cluster.set_phase(uid, Phase::Finished))
    }

    /// The pod is gone from the API server, and with it the folder of its logs. True when there was such a pod.
    pub fn delete_pod(&self, uid: &str) -> bool {
        let Some(pod) = self.shared.update(|state| {
            let at = state.cluster.pods.iter().position(|pod| pod.spec.uid == uid)?;
            Some(state.cluster.pods.remove(at))
        }) else {
            return false;
        };
        if let Some(root) = &self.shared.config.host_root
            && let Err(error) = folders::remove_pod_logs(root, &pod.spec)
        {
            tracing::warn!(%error, pod = pod.spec.name, "the folder of the pod's logs could not be removed");
        }
        true
    }

    /// Closes the kubelet's connection to the plugin of a resource, though the plugin did nothing.
    pub async fn disconnect(&self, resource: &str) {
        let Some(handle) = self.handle() else { return };
        let (shared, resource) = (Arc::clone(&self.shared), resource.to_owned());
        let closing = handle.spawn(async move {
            let clients = shared.read().clients.all();
            for client in clients.iter().filter(|client| client.resource == resource) {
                client::disconnect(&shared, client);
                client.until_ended().await;
            }
        });
        // An error means that the process ended meanwhile, and its connections with it.
        let _ = closing.await;
    }

    /// Removes everything from the plugin folder but the checkpoint and, if `keep_kubelet_socket`, the kubelet's own
    /// socket, while the kubelet runs on: what a careless administrator does.
    ///
    /// # Errors
    /// When the folder cannot be read or a file not removed.
    pub fn wipe_plugin_dir(&self, keep_kubelet_socket: bool) -> Result<(), StartError> {
        let keep = if keep_kubelet_socket { &[KUBELET_SOCKET][..] } else { &[] };
        folders::wipe(&self.plugin_dir(), keep).map_err(|error| self.failed("wipe the plugin folder of", error))
    }

    /// `<kubelet dir>/device-plugins`
    pub fn plugin_dir(&self) -> PathBuf {
        self.shared.config.plugin_dir()
    }

    /// `<kubelet dir>/pod-resources/kubelet.sock`
    pub fn pod_resources_socket(&self) -> PathBuf {
        pod_resources_socket(&self.shared.config)
    }

    /// The checkpoint as it is on disk; `None` when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is corrupted.
    pub fn checkpoint(&self) -> io::Result<Option<Checkpoint>> {
        Checkpoint::read(&self.shared.config.checkpoint_file())
    }

    fn handle(&self) -> Option<Handle> {
        self.lock().as_ref().map(|process| process.handle.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, what: &'static str, error: io::Error) -> StartError {
        StartError { what, path: self.shared.config.kubelet_dir.clone(), error }
    }
}

impl Process {
    fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = thread::Builder::new().name("kubelet".to_owned()).spawn(move || {
            // An error means that the sender is gone, which ends the process as well.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { handle, end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // Nothing of the process may write a file once it has ended. An error is a panic, printed already.
            let _ = thread.join();
        }
    }
}

fn pod_resources_socket(config: &Config) -> PathBuf {
    config.kubelet_dir.join("pod-resources").join(KUBELET_SOCKET)
}

/// Reads the checkpoint, cleans the plugin folder, serves both sockets (manager.go, `Start`; plugin/v1beta1/server.go,
/// `Start`; `pkg/kubelet/server/server.go`, `ListenAndServePodResources`).
async fn boot(shared: Arc<Shared>, containers_run: bool) -> Result<(), StartError> {
    let config = &shared.config;
    let failed = |what, path: &Path| {
        let path = path.to_path_buf();
        move |error| StartError { what, path, error }
    };
    let (plugin_dir, pod_resources) = (config.plugin_dir(), pod_resources_socket(config));
    for folder in
        [plugin_dir.clone(), config.kubelet_dir.join("plugins_registry"), config.kubelet_dir.join("pod-resources")]
    {
        fs::create_dir_all(&folder).map_err(failed("make the folder", &folder))?;
    }
    shared.update(|state| {
        state.outlive(config);
        state.starts += 1;
        match Checkpoint::read(&config.checkpoint_file()) {
            Ok(Some(checkpoint)) => state.restore(&checkpoint),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the checkpoint could not be read; going on without"),
        }
    });
    let sources = shared.read().sources;
    if sources == Sources::AtOnce {
        sources_deliver(&shared, containers_run).await;
    }
    folders::remove_sockets(&plugin_dir).map_err(failed("clean the plugin folder", &plugin_dir))?;
    let socket = plugin_dir.join(KUBELET_SOCKET);
    let registration = UnixListener::bind(&socket).map_err(failed("listen on", &socket))?;
    let _ = fs::remove_file(&pod_resources);
    let lister = UnixListener::bind(&pod_resources).map_err(failed("listen on", &pod_resources))?;

    let registrar = RegistrationServer::new(Registrar(Arc::clone(&shared)));
    tokio::spawn(Server::builder().serve_with_incoming(registrar, UnixListenerStream::new(registration)));
    let service = PodResourcesListerServer::new(Lister::new(Arc::clone(&shared)));
    tokio::spawn(Server::builder().serve_with_incoming(service, UnixListenerStream::new(lister)));
    tokio::spawn(sync_node_status(Arc::clone(&shared)));
    tokio::spawn(super::plugin_watcher::watch(Arc::clone(&shared)));
    if let Sources::After(pause) = sources {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            sources_deliver(&shared, containers_run).await;
        });
    }
    Ok(())
}

/// Looks for resources whose grace period is over, as each node status does.
async fn sync_node_status(shared: Arc<Shared>) {
    // pkg/kubelet/apis/config: nodeStatusUpdateFrequency, 10 s; more often when a test shortens the grace period.
    let frequency =
        (shared.config.stop_grace / 4).clamp(std::time::Duration::from_millis(5), std::time::Duration::from_secs(10));
    loop {
        tokio::time::sleep(frequency).await;
        if shared.update(super::state::State::forget_expired)
            && let Err(error) = shared.write_checkpoint()
        {
            tracing::warn!(%error, "the checkpoint could not be written");
        }
    }
}
