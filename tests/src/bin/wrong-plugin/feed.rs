//! One `ListAndWatch` stream.

use super::{
    cards::Now,
    changes::State,
    service::{Plugin, api},
};
use futures_util::{Stream, stream};
use std::{
    future::pending,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{Instant, sleep_until},
};
use tonic::Status;

/// The time between two lists, so that storms are folded.
const APART: Duration = Duration::from_millis(50);

/// A stream that is open.
struct Feed {
    plugin: Arc<Plugin>,
    last: watch::Receiver<State>,
    every: broadcast::Receiver<State>,
    queue: Option<mpsc::UnboundedReceiver<State>>,
    stop: watch::Receiver<bool>,
    registration: watch::Receiver<usize>,
    sent: Option<Instant>,
    writing: bool,
    emptied: bool,
}

/// The lists, from now on.
pub fn feed(plugin: Arc<Plugin>) -> impl Stream<Item = Result<api::ListAndWatchResponse, Status>> + Send {
    let number = plugin.opened.fetch_add(1, Ordering::Relaxed) + 1;
    plugin.open.fetch_add(1, Ordering::Relaxed);
    let every = plugin.changes.every.subscribe();
    let queue = (number > 1 && plugin.fault.is("slow.backlog")).then(|| queue(every.resubscribe()));
    let mut last = plugin.changes.last.clone();
    last.mark_unchanged();
    let (stop, registration) = (plugin.stop.subscribe(), plugin.registration.subscribe());
    let feed = Feed { last, every, queue, stop, registration, sent: None, writing: true, emptied: false, plugin };
    // From the call on, as if it began with taking the lock.
    feed.plugin.writing.send_modify(|writing| *writing += 1);
    stream::unfold(feed, |mut feed| async move { feed.next().await.map(|list| (Ok(list), feed)) })
}

/// Keeps every change, however many.
fn queue(mut every: broadcast::Receiver<State>) -> mpsc::UnboundedReceiver<State> {
    let (keep, kept) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(state) = every.recv().await {
            if keep.send(state).is_err() {
                return;
            }
        }
    });
    kept
}

impl Feed {
    async fn next(&mut self) -> Option<api::ListAndWatchResponse> {
        let first = self.sent.is_none();
        if !first {
            // Whoever asks for the next list has written the last one.
            self.wrote();
        }
        if first && !self.plugin.fault.is("list.first") {
            let now = *self.last.borrow_and_update();
            return Some(self.write(now));
        }
        let (mut stop, mut registration) = (self.stop.clone(), self.registration.clone());
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {
                let empty = self.plugin.fault.is("stop.no-empty-list") && !self.emptied;
                self.emptied = true;
                empty.then(api::ListAndWatchResponse::default)
            }
            _ = registration.changed() => None,
            state = self.change() => {
                if self.plugin.fault.is("health.stream") { None } else { Some(self.write(state)) }
            }
        }
    }

    /// The state of which the next list tells.
    async fn change(&mut self) -> State {
        if let Some(queue) = &mut self.queue {
            return match queue.recv().await {
                Some(state) => state,
                None => pending().await,
            };
        }
        if self.plugin.fault.is("storm.folded") {
            loop {
                match self.every.recv().await {
                    Ok(state) => return state,
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return pending().await,
                }
            }
        }
        if self.last.changed().await.is_err() {
            return pending().await;
        }
        if let Some(sent) = self.sent {
            sleep_until(sent + APART).await;
        }
        *self.last.borrow_and_update()
    }

    fn write(&mut self, state: State) -> api::ListAndWatchResponse {
        self.sent = Some(Instant::now());
        if !std::mem::replace(&mut self.writing, true) {
            self.plugin.writing.send_modify(|writing| *writing += 1);
        }
        let State { down, was_down, changes } = state;
        let kubelet_restarted = self.plugin.kubelet_restarts.load(Ordering::Relaxed) > 0;
        let now = Now { down, was_down, changes, kubelet_restarted };
        api::ListAndWatchResponse { devices: self.plugin.cards.list(now) }
    }

    fn wrote(&mut self) {
        if std::mem::take(&mut self.writing) {
            self.plugin.writing.send_modify(|writing| *writing -= 1);
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.wrote();
        self.plugin.open.fetch_sub(1, Ordering::Relaxed);
        self.plugin.stream_ended.notify_one();
    }
}
