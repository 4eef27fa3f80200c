//! Starting the kernel probe: loading takes long, so it is done on another thread, and the loop goes on meanwhile.

use super::RunError;
use crate::{
    instance::Keeper,
    probe::{Absent, CensusTaker, Grant, Loaded, Probe, ProbeMode, ProbeOptions, give_up, pins_are_free},
};
use std::{future::pending, path::Path, time::Duration};
use tokio::{
    task::{JoinError, JoinHandle, spawn_blocking},
    time::{Instant, sleep_until, timeout},
};
use tracing::{info, warn};

/// How long the first list waits for the probe. Without it that list knows what `/proc` shows.
const PATIENCE: Duration = Duration::from_millis(700);

/// How often it is looked whether another vfiod has let go of the pins.
const PINS_EVERY: Duration = Duration::from_secs(1);

/// What nobody sees without the probe.
const WITHOUT: &str =
    "opens of groups are noticed by inotify and looked up in /proc, opens of single devices are not seen";

/// A probe that is being loaded.
pub(super) struct ProbeStart {
    mode: ProbeMode,
    /// Whether the host root is the running kernel's own.
    live: bool,
    loading: Option<JoinHandle<Result<Loaded, Absent>>>,
    absent: Option<String>,
    options: ProbeOptions,
    /// The pins are for whoever keeps the state.
    keeper: Keeper,
    /// When to look again whether the pins are free, where another vfiod owns them.
    pins_at: Option<Instant>,
}

/// The probe, if there is one, and its census.
type Started = Option<(Probe, CensusTaker)>;

impl ProbeStart {
    /// Begins to load it. What the kernel says is true of its own host only (`live`), and not of a folder that stands for one.
    pub(super) fn begin(options: ProbeOptions, live: bool, keeper: Keeper) -> Self {
        let mode = if live || options.mode == ProbeMode::Require { options.mode } else { ProbeMode::Off };
        let options = ProbeOptions { mode, ..options };
        Self {
            mode,
            live,
            loading: Some(load(&options, &keeper)),
            options,
            keeper,
            pins_at: None,
            absent: Some("it is still being loaded".to_owned()),
        }
    }

    /// The probe, if it is there soon; if it is required, however long it takes.
    pub(super) async fn soon(&mut self) -> Result<Started, RunError> {
        if self.mode == ProbeMode::Require {
            return self.done().await;
        }
        match timeout(PATIENCE, self.done()).await {
            Ok(done) => done,
            Err(_) => {
                info!("the kernel probe takes long to load; it will follow");
                Ok(None)
            }
        }
    }

    /// The probe when it is loaded, once, and once more when the pins that another vfiod owned are free; waits for ever
    /// afterwards. Cancelling it loses nothing.
    pub(super) async fn done(&mut self) -> Result<Started, RunError> {
        while self.loading.is_none() {
            let (Some(at), Some(folder)) = (self.pins_at, &self.options.pin) else { return pending().await };
            sleep_until(at).await;
            self.pins_at = Some(Instant::now() + PINS_EVERY);
            if may_take_pins(&self.keeper, folder) {
                self.loading = Some(load(&self.options, &self.keeper));
            }
        }
        let Some(loading) = &mut self.loading else { return pending().await };
        let loaded = loading.await;
        self.loading = None;
        self.take(loaded)
    }

    /// Why there is no probe; none where it was started.
    pub(super) fn absent(&self) -> Option<&str> {
        self.absent.as_deref()
    }

    fn take(&mut self, loaded: Result<Result<Loaded, Absent>, JoinError>) -> Result<Started, RunError> {
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                warn!("the kernel probe could not be loaded: {error}; {WITHOUT}");
                self.absent = Some(format!("it could not be loaded: {error}; {WITHOUT}"));
                return Ok(None);
            }
        };
        let waits_for_pins = loaded.as_ref().is_ok_and(Loaded::waits_for_pins);
        self.pins_at = waits_for_pins.then(|| Instant::now() + PINS_EVERY);
        // Loading once more needs what loading needs.
        if !waits_for_pins {
            keep_only(loaded.as_ref().ok().map(Loaded::grant));
        }
        let followed = loaded.and_then(Loaded::follow);
        self.absent = match &followed {
            Ok(_) => None,
            Err(Absent::Off) if !self.live => Some(format!("the host root is not this kernel's own: {WITHOUT}")),
            Err(absent) => Some(format!("{absent}: {WITHOUT}")),
        };
        match followed {
            Ok(started) => Ok(Some(started)),
            Err(absent) if !Absent::is_tolerated(self.mode) => Err(RunError::Probe(absent)),
            Err(absent @ Absent::Missing(_)) => {
                warn!("{absent}. Without it {WITHOUT}");
                Ok(None)
            }
            Err(Absent::Off) if !self.live => {
                info!("the host root is not this kernel's own, so there is no kernel probe: {WITHOUT}");
                Ok(None)
            }
            Err(absent @ Absent::Off) => {
                info!("{absent}: {WITHOUT}");
                Ok(None)
            }
        }
    }
}

/// Whether the pins are this vfiod's to take: it keeps the state, and no vfiod with another state folder owns them.
fn may_take_pins(keeper: &Keeper, folder: &Path) -> bool {
    keeper.is_keeper() && pins_are_free(folder)
}

fn load(options: &ProbeOptions, keeper: &Keeper) -> JoinHandle<Result<Loaded, Absent>> {
    let options = ProbeOptions { beside: !keeper.is_keeper(), ..options.clone() };
    spawn_blocking(move || Loaded::load(&options))
}

/// Gives up, for this thread and those it starts from now on, what the probe no longer needs.
fn keep_only(grant: Option<Grant>) {
    match give_up(grant) {
        Ok(given_up) if given_up.is_empty() => {}
        Ok(given_up) => info!("given up, because no longer needed: {}", given_up.join(", ")),
        Err(error) => warn!("capabilities that are no longer needed cannot be given up: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use tempfile::TempDir;

    #[tokio::test]
    async fn the_pins_are_for_whoever_keeps_the_state_and_for_nobody_while_another_owns_them() {
        let folder = TempDir::new().unwrap();
        let (state, pins) = (folder.path().join("state"), folder.path().join("pins"));
        std::fs::create_dir(&pins).unwrap();
        let (first, mut second) = (Keeper::stand(&state), Keeper::stand(&state));
        assert!(may_take_pins(&first, &pins));
        assert!(!may_take_pins(&second, &pins), "free, and the first one's nevertheless");
        drop(first);
        second.elected().await;
        assert!(may_take_pins(&second, &pins));
        // A vfiod with a state folder of its own.
        let owner = File::open(&pins).unwrap();
        owner.lock().unwrap();
        assert!(!may_take_pins(&second, &pins));
        drop(owner);
        assert!(may_take_pins(&second, &pins));
    }
}
