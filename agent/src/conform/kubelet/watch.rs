//! Following a plugin's list.

use super::dial::{Dialled, told};
use prost::Message as _;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::{Status, Streaming};
use vfiod_proto::{
    HEALTHY,
    deviceplugin::{Device, Empty, ListAndWatchResponse},
};

/// What has been seen on a stream so far.
#[derive(Debug, Clone, Default)]
pub(in crate::conform) struct Seen {
    /// How many messages came.
    pub(in crate::conform) messages: usize,
    /// The ids of the first list, sorted.
    pub(in crate::conform) first: Arc<Vec<String>>,
    /// The list as it is now.
    pub(in crate::conform) devices: Arc<Vec<Device>>,
    /// The size of the largest message, in bytes.
    pub(in crate::conform) largest: usize,
    /// The shortest list since [`Stream::mark`].
    pub(in crate::conform) fewest: usize,
    /// How the stream ended, if it has.
    pub(in crate::conform) ended: Option<String>,
}

/// A `ListAndWatch` stream that is read as it comes.
#[derive(Debug)]
pub(in crate::conform) struct Stream {
    seen: watch::Receiver<Seen>,
    tell: watch::Sender<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stream {
    /// Opens the stream and follows it.
    pub(in crate::conform) fn open(dialled: &Dialled) -> Self {
        let (tell, seen) = watch::channel(Seen::default());
        let (mut client, telling) = (dialled.client.clone(), tell.clone());
        let task = tokio::spawn(async move {
            let end = match client.list_and_watch(Empty {}).await {
                Ok(stream) => follow(stream.into_inner(), &telling).await,
                Err(status) => told(&status),
            };
            telling.send_modify(|seen| seen.ended = Some(end));
        });
        Self { seen, tell, task }
    }

    /// What has been seen so far.
    pub(in crate::conform) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Counts the shortest list from here on.
    pub(in crate::conform) fn mark(&self) {
        self.tell.send_modify(|seen| seen.fewest = seen.devices.len());
    }

    /// Waits until what is seen is `wanted`. False when it does not come to that, or the stream has ended.
    pub(in crate::conform) async fn until(&self, patience: Duration, wanted: impl Fn(&Seen) -> bool) -> bool {
        let mut seen = self.seen.clone();
        let come = timeout(patience, seen.wait_for(|seen| wanted(seen) || seen.ended.is_some())).await;
        matches!(come, Ok(Ok(seen)) if wanted(&seen))
    }

    /// Waits until no message has come for `quiet`, at most for `patience`.
    pub(in crate::conform) async fn until_quiet(&self, quiet: Duration, patience: Duration) {
        let settled = async {
            loop {
                let before = self.seen.borrow().messages;
                sleep(quiet).await;
                if self.seen.borrow().messages == before {
                    return;
                }
            }
        };
        let _ = timeout(patience, settled).await;
    }
}

async fn follow(mut stream: Streaming<ListAndWatchResponse>, tell: &watch::Sender<Seen>) -> String {
    loop {
        match stream.message().await {
            Ok(Some(list)) => tell.send_modify(|seen| {
                let first = seen.messages == 0;
                seen.messages += 1;
                seen.largest = seen.largest.max(list.encoded_len());
                seen.fewest = if first { list.devices.len() } else { seen.fewest.min(list.devices.len()) };
                seen.devices = Arc::new(list.devices);
                if first {
                    seen.first = Arc::new(seen.ids());
                }
            }),
            Ok(None) => return "the plugin closed it".to_owned(),
            Err(status) => return told(&status),
        }
    }
}

impl Seen {
    /// The ids of the devices that may be allocated, each once.
    pub(in crate::conform) fn healthy(&self) -> Vec<String> {
        let mut known = HashSet::new();
        let healthy = self.devices.iter().filter(|device| device.health == HEALTHY && !device.id.is_empty());
        healthy.filter(|device| known.insert(&device.id)).map(|device| device.id.clone()).collect()
    }

    /// Whether this device may be allocated.
    pub(in crate::conform) fn is_healthy(&self, id: &str) -> bool {
        self.devices.iter().any(|device| device.id == id && device.health == HEALTHY)
    }

    /// All ids, sorted.
    pub(in crate::conform) fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.devices.iter().map(|device| device.id.clone()).collect();
        ids.sort();
        ids
    }
}

/// A stream that is open and not read.
#[derive(Debug)]
pub(in crate::conform) struct Stalled(Streaming<ListAndWatchResponse>);

impl Stalled {
    /// Opens the stream; the connection should have a narrow window.
    pub(in crate::conform) async fn open(dialled: &Dialled, patience: Duration) -> Result<Self, Status> {
        let mut client = dialled.client.clone();
        match timeout(patience, client.list_and_watch(Empty {})).await {
            Ok(answer) => Ok(Self(answer?.into_inner())),
            Err(_) => Err(Status::deadline_exceeded("the stream does not open")),
        }
    }

    /// Reads what has piled up: until nothing has come for `quiet`, or more than `limit` bytes have. Returns how many
    /// lists there were, and their bytes.
    pub(in crate::conform) async fn drain(mut self, quiet: Duration, limit: usize) -> (usize, usize) {
        let (mut messages, mut bytes) = (0, 0);
        while let Ok(Ok(Some(list))) = timeout(quiet, self.0.message()).await {
            messages += 1;
            bytes += list.encoded_len();
            if bytes > limit {
                break;
            }
        }
        (messages, bytes)
    }
}
