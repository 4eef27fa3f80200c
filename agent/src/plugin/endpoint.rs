//! One endpoint: serves a resource and keeps it registered, whatever the kubelet does.

use super::{
    desk::Desk,
    kubelet::{Identity, KubeletFolder, KubeletSocket},
    list_and_watch::capacity,
    registration::{Line, RegisterError},
    running::Running,
    socket::{SocketError, free_path},
    way::{RegistrationMode, Way},
};
use crate::board::Served;
use std::{future::Future, pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{debug, info, warn};
use vfiod_core::allocator::Resource;

/// The first pause after a failure; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause while the kubelet takes registrations and ends their streams soon after.
const LONGEST_PAUSE_BETWEEN_STREAMS: Duration = Duration::from_secs(1);
/// A stream that the kubelet keeps at least this long was a good one: the pauses begin anew.
const GOOD_STREAM: Duration = Duration::from_secs(5);
/// How long the kubelet's plugin watcher may take where the socket is the other way.
const WATCHER_DUE: Duration = Duration::from_secs(15);
/// How long after a registration the kubelet has asked for the list; it does so at once.
const STREAM_DUE: Duration = Duration::from_secs(10);

/// An endpoint of one resource.
pub(super) struct Endpoint {
    pub(super) resource: Arc<Resource>,
    pub(super) served: Arc<Served>,
    pub(super) desk: Desk,
    pub(super) folder: KubeletFolder,
    pub(super) mode: RegistrationMode,
    pub(super) kubelet: watch::Receiver<KubeletSocket>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) rung: Arc<Notify>,
}

/// Why a registration came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Another kubelet listens now.
    KubeletRestarted,
    /// The socket file was removed.
    SocketRemoved,
    /// The kubelet ended the stream.
    StreamEnded,
    /// The resource is no longer served.
    Retired,
    /// The agent stops.
    Stopping,
}

/// Why there was no registration, or none that was of use.
enum Failure {
    /// Nobody listens on the kubelet's socket, for the log.
    Nobody(String),
    /// What went wrong, for the log.
    Because(String),
    /// The kubelet asks for no list.
    NoStream,
}

impl Endpoint {
    /// Serves until the resource is retired or the agent stops.
    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let (mut complained, mut failures) = (false, 0_u32);
        loop {
            let way = self.mode.way(failures, || self.folder.registry().is_dir());
            let Some(kubelet) = self.kubelet_present(way).await else { return };
            let started = Instant::now();
            let served = match way {
                Way::Socket => self.serve().await,
                Way::Watcher => self.serve_to_watcher().await,
            };
            failures = match &served {
                Ok(_) => 0,
                // It was killed. When it is back it listens there again, and its plugin watcher would be slower.
                Err(Failure::Nobody(_)) => failures,
                Err(_) => failures.saturating_add(1),
            };
            let (failure, longest) = match served {
                Ok(End::Retired | End::Stopping) => return,
                Ok(End::StreamEnded) if started.elapsed() < GOOD_STREAM => {
                    let hint = "the kubelet ends the stream soon after the registration; is another plugin serving this resource?";
                    let suspicious = pause > FIRST_PAUSE * 8;
                    (suspicious.then(|| hint.to_owned()), LONGEST_PAUSE_BETWEEN_STREAMS)
                }
                Ok(end) => {
                    info!(resource = %self.resource.name(), "registering again: {}", end.text());
                    (pause, complained) = (FIRST_PAUSE, false);
                    continue;
                }
                Err(failure) => (Some(failure.to_string()), LONGEST_PAUSE),
            };
            if let Some(failure) = failure {
                self.served.in_trouble(&failure);
                if complained {
                    debug!(resource = %self.resource.name(), "{failure}");
                } else {
                    warn!(resource = %self.resource.name(), "{failure}; trying again until it works");
                }
                complained = true;
            }
            if !self.rest(pause.min(longest), kubelet).await {
                return;
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Waits until a kubelet listens, where it must be told of the socket; `None` when there is nothing left to serve.
    async fn kubelet_present(&mut self, way: Way) -> Option<KubeletSocket> {
        let rung = Arc::clone(&self.rung);
        loop {
            let mut rung = pin!(rung.notified());
            rung.as_mut().enable(); // before looking, so that no ring is missed
            let seen = *self.kubelet.borrow_and_update();
            if *self.stop.borrow() || self.resource.is_retired() {
                return None;
            }
            if seen.identity.is_some() || way == Way::Watcher {
                return Some(seen);
            }
            tokio::select! {
                changed = self.kubelet.changed() => changed.ok()?,
                _ = self.stop.wait_for(|stop| *stop) => return None,
                () = rung => {}
            }
        }
    }

    /// Rests after a failure, until something changes at the kubelet. False when the agent stops.
    async fn rest(&mut self, pause: Duration, seen: KubeletSocket) -> bool {
        tokio::select! {
            () = sleep(pause) => true,
            _ = self.kubelet.wait_for(|now| now.identity != seen.identity) => true,
            _ = self.stop.wait_for(|stop| *stop) => false,
        }
    }

    /// Who listens now. A folder that cannot be read says nothing, as one without a kubelet.
    fn kubelet_now(&self) -> Option<Identity> {
        self.folder.identity().ok().flatten()
    }

    /// One registration, from the socket to its end.
    async fn serve(&mut self) -> Result<End, Failure> {
        let path = free_path(self.folder.path(), self.resource.name())?;
        // What was told may be older than the kubelet that is about to answer.
        let kubelet = self.kubelet_now();
        let line = Line::to(&self.folder.socket())?;
        let running = Running::start(path, &self.served, &self.desk, &self.rung, None)?;
        running.calls().kubelet_is(line.listener());
        let (name, resource) = (running.name(), Arc::clone(&self.resource));
        let registration = async move { line.register(name, resource.name()).await };
        let registered = self.unless_moot(&running, kubelet, registration).await;
        let registered = registered.map(|done| done.map_err(Failure::from));
        self.until_ended(running, kubelet, registered).await
    }

    /// One registration that the kubelet's plugin watcher makes, from the socket to its end.
    async fn serve_to_watcher(&mut self) -> Result<End, Failure> {
        let (told, mut tells) = watch::channel(None);
        let path = free_path(self.folder.registry(), self.resource.name())?;
        let running = Running::start(path, &self.served, &self.desk, &self.rung, Some(told))?;
        debug!(resource = %self.resource.name(), socket = running.name(), "waiting for the kubelet's plugin watcher");
        let patience = if self.mode == RegistrationMode::Auto { WATCHER_DUE } else { Duration::MAX };
        let registration = async move {
            let told = async { tells.wait_for(Option::is_some).await.ok().and_then(|told| told.clone()) };
            match timeout(patience, told).await {
                Ok(Some(Ok(()))) => Ok(()),
                Ok(Some(Err(why))) => Err(format!("the kubelet's plugin watcher refused the registration: {why}")),
                Ok(None) => Err("the endpoint ended before the kubelet's plugin watcher found it".to_owned()),
                Err(_) => Err(format!("the kubelet's plugin watcher did not come within {} s", WATCHER_DUE.as_secs())),
            }
        };
        let registered = self.unless_moot(&running, None, registration).await;
        let registered = registered.map(|done: Result<(), String>| done.map_err(Failure::Because));
        self.until_ended(running, None, registered).await
    }

    /// What follows on a registration, to its end.
    async fn until_ended(
        &mut self,
        running: Running,
        kubelet: Option<Identity>,
        registered: Result<Result<(), Failure>, End>,
    ) -> Result<End, Failure> {
        let end = match registered {
            Ok(Ok(())) => {
                self.served.is_registered(true);
                let (healthy, all) = capacity(&self.resource);
                info!(resource = %self.resource.name(), devices = all, healthy, socket = running.name(), "registered");
                let end = self.watch(&running, kubelet).await;
                self.served.is_registered(false);
                end
            }
            Ok(Err(failure)) => Err(failure),
            Err(end) => Ok(end),
        };
        running.finish(matches!(end, Ok(End::Retired))).await;
        end
    }

    /// Waits until the registration ends.
    async fn watch(&mut self, running: &Running, kubelet: Option<Identity>) -> Result<End, Failure> {
        let calls = Arc::clone(running.calls());
        let overdue = Instant::now() + STREAM_DUE;
        let ended = async move {
            if timeout_at(overdue, calls.stream_ended()).await.is_err() {
                if !calls.has_stream() {
                    return Err(Failure::NoStream);
                }
                calls.stream_ended().await;
            }
            Ok(End::StreamEnded)
        };
        self.unless_moot(running, kubelet, ended).await.unwrap_or_else(Ok)
    }

    /// Waits for `work`, unless the registration has come to its end first.
    async fn unless_moot<T>(
        &mut self,
        running: &Running,
        kubelet: Option<Identity>,
        work: impl Future<Output = T>,
    ) -> Result<T, End> {
        let mut work = pin!(work);
        let rung = Arc::clone(&self.rung);
        // What has happened since the endpoint last waited for a kubelet; every later wipe of its folder is told. And the
        // bell rings for every change of the list, which says nothing of the kubelet.
        let mut look = self.kubelet.has_changed().unwrap_or(true);
        loop {
            let mut rung = pin!(rung.notified());
            rung.as_mut().enable(); // before looking, so that no ring is missed
            if self.resource.is_retired() {
                return Err(End::Retired);
            }
            if look {
                self.kubelet.borrow_and_update();
            }
            // Its folder is another, which no starting kubelet wipes; and the stream ends with the kubelet.
            if look && !running.is_watched() {
                let now = self.kubelet_now();
                if now.is_some() && now != kubelet {
                    return Err(End::KubeletRestarted);
                }
                if now.is_some() && !running.is_there() {
                    return Err(End::SocketRemoved);
                }
            }
            look = tokio::select! {
                done = &mut work => return Ok(done),
                _ = self.stop.wait_for(|stop| *stop) => return Err(End::Stopping),
                () = rung => false,
                changed = self.kubelet.changed() => {
                    if changed.is_err() {
                        return Err(End::Stopping);
                    }
                    true
                }
            };
        }
    }
}

impl From<SocketError> for Failure {
    fn from(error: SocketError) -> Self {
        Self::Because(error.to_string())
    }
}

impl From<RegisterError> for Failure {
    fn from(error: RegisterError) -> Self {
        let text = error.to_string();
        match error {
            RegisterError::Nobody { .. } => Self::Nobody(text),
            RegisterError::NoKubelet { .. } | RegisterError::Refused { .. } | RegisterError::Timeout => {
                Self::Because(text)
            }
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nobody(what) | Self::Because(what) => f.write_str(what),
            // Older kubelets answer the registration before they call.
            Self::NoStream => write!(
                f,
                "the kubelet took the registration and did not ask for the list of devices within {} s",
                STREAM_DUE.as_secs()
            ),
        }
    }
}

impl End {
    const fn text(self) -> &'static str {
        match self {
            Self::KubeletRestarted => "the kubelet has restarted",
            Self::SocketRemoved => "the socket was removed from the kubelet's folder",
            Self::StreamEnded => "the kubelet ended the stream",
            Self::Retired => "no longer permitted",
            Self::Stopping => "stopping",
        }
    }
}
