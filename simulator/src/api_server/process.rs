//! The server's thread, and what a test does to it.

use super::{
    faults::{Gone, Refusal},
    http,
    store::Store,
};
use axum::Router;
use serde_json::{Value, json};
use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::sync::{oneshot, watch};

/// What the tasks of the server share with the test.
#[derive(Debug)]
pub(super) struct Shared {
    store: Mutex<Store>,
    changed: watch::Sender<()>,
}

impl Shared {
    pub(super) fn read(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let result = change(&mut self.read());
        self.changed.send_replace(());
        result
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// An API server on a port of this host. It ends when dropped; what it has survives [`go_away`](Self::go_away).
#[derive(Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl ApiServer {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared { store: Mutex::new(Store::default()), changed: watch::channel(()).0 });
        let (running, address) = Running::start(&shared, SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(Self { shared, address, running: Some(running) })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a kubeconfig that leads to it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn kubeconfig(&self, folder: &Path) -> io::Result<PathBuf> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "simulated",
            "clusters": [{ "name": "simulated", "cluster": { "server": self.url() } }],
            "users": [{ "name": "vfiod", "user": {} }],
            "contexts": [{ "name": "simulated", "context": { "cluster": "simulated", "user": "vfiod" } }],
        });
        let path = folder.join("kubeconfig");
        fs::write(&path, config.to_string())?;
        Ok(path)
    }

    /// Ends it as a crash does: connections are reset, nobody listens.
    pub fn go_away(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }

    /// Starts it again at its address.
    ///
    /// # Errors
    /// When somebody else has taken the port.
    pub fn come_back(&mut self) -> io::Result<()> {
        if self.running.is_none() {
            self.running = Some(Running::start(&self.shared, self.address)?.0);
        }
        Ok(())
    }

    /// Creates a KubeVirt CR, or edits it.
    pub fn apply(&self, namespace: &str, name: &str, spec: Value) {
        self.shared.update(|store| store.apply(namespace, name, spec));
    }

    /// Creates a KubeVirt CR that permits `entries`, or edits it: PCI selectors with their resources, all marked
    /// `externalResourceProvider`.
    pub fn permit(&self, namespace: &str, name: &str, entries: &[(&str, &str)]) {
        let entries: Vec<Value> = entries
            .iter()
            .map(|(selector, resource)| {
                json!({ "pciVendorSelector": selector, "resourceName": resource, "externalResourceProvider": true })
            })
            .collect();
        let spec = json!({ "configuration": { "permittedHostDevices": { "pciHostDevices": entries } } });
        self.apply(namespace, name, spec);
    }

    /// Deletes a KubeVirt CR.
    pub fn delete(&self, namespace: &str, name: &str) {
        self.shared.update(|store| store.delete(namespace, name));
    }

    /// Sends open watches a bookmark.
    pub fn bookmark(&self) {
        self.shared.update(|store| store.bookmarks += 1);
    }

    /// Forgets all versions before now, and tells open watches and those that come from before as `gone` says.
    pub fn forget(&self, gone: Gone) {
        self.shared.update(|store| {
            store.version += 1;
            store.oldest = store.version;
            store.gone = gone;
            store.expirations += 1;
        });
    }

    /// Cuts all open watches in the middle.
    pub fn cut(&self) {
        self.shared.update(|store| store.cuts += 1);
    }

    /// Refuses requests from now on; `None` ends that.
    pub fn refuse(&self, refusal: Option<Refusal>) {
        self.shared.update(|store| store.refusal = refusal);
    }

    /// Takes Events on objects without a namespace in `kube-system` alone from now on, as Kubernetes 1.20 does (kubernetes
    /// 1.20: `pkg/apis/core/validation/events.go`, `legacyValidateEvent`).
    pub fn take_events_as_1_20(&self) {
        self.shared.update(|store| store.events_of_1_20 = true);
    }

    /// All Events as they are now.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.shared.read().events.values().cloned().collect()
    }

    /// Every creation and patch of an Event, oldest first.
    #[must_use]
    pub fn event_writes(&self) -> Vec<Value> {
        self.shared.read().event_writes.clone()
    }

    /// Every request, `GET /apis/…`, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.shared.read().requests.clone()
    }

    /// Waits until `condition` holds for what it has and was asked.
    ///
    /// # Errors
    /// Names `what` when it does not come to that within `patience`.
    pub fn wait_for(&self, what: &str, patience: Duration, condition: impl Fn(&Self) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !condition(self) {
            if begun.elapsed() > patience {
                return Err(format!(
                    "{what} did not come about; requests: {:#?}; events: {:#?}",
                    self.requests(),
                    self.events()
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.go_away();
    }
}

impl Running {
    fn start(shared: &Arc<Shared>, address: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Its address is free again at once after it went away: the standard library asks for that (SO_REUSEADDR).
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new().name("api-server".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                let routes = Router::new().fallback(move |request| http::answer(Arc::clone(&shared), request));
                tokio::select! {
                    served = axum::serve(listener, routes) => drop(served),
                    _ = stopped => {}
                }
            });
            // Dropping it drops every connection.
        })?;
        Ok((Self { stop, thread }, address))
    }

    fn end(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}
