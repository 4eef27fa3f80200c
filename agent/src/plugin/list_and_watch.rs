//! `ListAndWatch`: the list of a resource, sent whole whenever it changes.

use super::{desk::Desk, pace::Pace, pieces::pieces, running::OpenStream};
use crate::board::Served;
use futures_util::{Stream, stream};
use prost::bytes::Bytes;
use std::{collections::VecDeque, future::Future, sync::Arc};
use tokio::sync::{Notify, watch};
use vfiod_core::{
    allocator::{List, Resource},
    health::Health,
};

/// One open stream.
struct Watch {
    served: Arc<Served>,
    rung: Arc<Notify>,
    desk: Desk,
    pace: Pace,
    stop: watch::Receiver<bool>,
    sent: Option<List>,
    last: bool,
    _open: Option<OpenStream>,
}

/// The stream of one `ListAndWatch` call: the list as it is, then every change, until `stop`; each as the pieces of a
/// message.
///
/// A resource that has ended sends one last, empty list: it truly has no device any more. An agent that stops sends
/// nothing: the kubelet would zero the capacity at once, while a closed stream leaves it for five minutes.
pub(super) fn stream(
    served: Arc<Served>,
    rung: Arc<Notify>,
    desk: Desk,
    stop: watch::Receiver<bool>,
    open: Option<OpenStream>,
) -> impl Stream<Item = VecDeque<Bytes>> + Send + 'static {
    let pace = Pace::new(desk.clock.now());
    served.stream_opens();
    let watch = Watch { served, rung, desk, pace, stop, sent: None, last: false, _open: open };
    stream::unfold(watch, |mut watch| async move { watch.next().await.map(|list| (pieces(&list), watch)) })
}

impl Watch {
    async fn next(&mut self) -> Option<List> {
        let rung = Arc::clone(&self.rung);
        loop {
            if self.last || *self.stop.borrow_and_update() {
                return None;
            }
            let ring = rung.notified();
            tokio::pin!(ring);
            ring.as_mut().enable(); // before looking, so that no ring is missed
            let due = self.pace.next(self.desk.clock.now());
            if due > self.desk.clock.now() {
                // A storm: what changes meanwhile is folded into the next list.
                self.unless_stopped(tokio::time::sleep_until(self.desk.clock.instant(due).into())).await?;
                continue;
            }
            self.last = self.served.resource().is_retired();
            let list = self.served.resource().list();
            if !self.sent.as_ref().is_some_and(|sent| sent.says_the_same(&list)) {
                let now = self.desk.clock.now();
                self.pace.sent(now);
                self.served.messages.one();
                self.served.message_bytes.add(list.encoded_len() as u64);
                if let Some(since) = self.served.resource().bell().heard() {
                    self.desk.board.event_to_stream.record(now.saturating_sub(since));
                }
                self.sent = Some(list.clone());
                return Some(list);
            }
            self.unless_stopped(ring).await?;
        }
    }

    /// `None` when the agent stops first.
    async fn unless_stopped(&mut self, what: impl Future<Output = ()>) -> Option<()> {
        tokio::select! {
            () = what => Some(()),
            _ = self.stop.wait_for(|stop| *stop) => None,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.served.stream_ends();
    }
}

/// How many devices of `resource` are healthy, and how many there are.
pub(super) fn capacity(resource: &Resource) -> (usize, usize) {
    let table = resource.table();
    let healthy = table.slots().iter().filter(|slot| slot.verdict().health == Health::Healthy).count();
    (healthy, table.slots().len())
}
