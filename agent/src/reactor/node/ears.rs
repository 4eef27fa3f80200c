//! The sources that wake the loop. Each waits for ever where it is not there or has failed: the loop goes on without it.

use crate::{
    cluster::Document,
    config::follow::Follow,
    monitor::{
        uevent::{self, UeventSocket},
        watch::Watcher,
    },
    probe::{Batch as ProbeBatch, Probe},
    reactor::{
        channels::Channels, holder_watch::HolderWatch, host_reader::HostReader, ownership_reader::OwnershipReader,
        probe_start::ProbeStart,
    },
};
use std::future::pending;
use tokio::sync::watch as signal;
use tracing::warn;

/// What a watch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// `/dev/vfio`.
    Groups,
    /// `/dev/vfio/devices`.
    Cdevs,
    /// The kubelet's plugin folder.
    Plugins,
}

/// The sources that wake the loop; apart from the state, so that waiting on them does not borrow it.
pub(super) struct Ears {
    pub(super) uevents: Option<UeventSocket>,
    pub(super) watcher: Watcher<Watched>,
    pub(super) follow: Option<Follow>,
    pub(super) host: HostReader,
    pub(super) ownership: OwnershipReader,
    pub(super) holders: HolderWatch,
    pub(super) probe: Option<Probe>,
    pub(super) probe_start: ProbeStart,
    pub(super) channels: Channels,
}

pub(super) async fn next_uevents(socket: &mut Option<UeventSocket>) -> uevent::Batch {
    let Some(open) = socket else { return pending().await };
    match open.next_batch().await {
        Ok(batch) => batch,
        Err(error) => {
            warn!(
                "uevents can no longer be received: {error}; changes are noticed by watches and by the periodic rescan"
            );
            *socket = None;
            uevent::Batch { overrun: true, ..uevent::Batch::default() }
        }
    }
}

pub(super) async fn next_probe(probe: &mut Option<Probe>) -> ProbeBatch {
    let Some(running) = probe else { return pending().await };
    match running.next().await {
        Ok(batch) => batch,
        Err(error) => {
            warn!("the kernel probe can no longer be read: {error}; opens of groups are noticed by inotify");
            *probe = None;
            ProbeBatch { overrun: true, ..ProbeBatch::default() }
        }
    }
}

/// The next state of the KubeVirt CR that differs from the last.
pub(super) async fn next_document(documents: &mut Option<signal::Receiver<Option<Document>>>) -> Document {
    loop {
        let Some(open) = documents else { return pending().await };
        if open.changed().await.is_err() {
            // The agent stops.
            *documents = None;
        } else if let Some(document) = open.borrow_and_update().clone() {
            return document;
        }
    }
}

pub(super) async fn changed(follow: &mut Option<Follow>) {
    let Some(open) = follow else { return pending().await };
    if let Err(error) = open.changed().await {
        warn!("the configuration can no longer be followed: {error}; changes are noticed by SIGHUP only");
        *follow = None;
    }
}
