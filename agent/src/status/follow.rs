//! The stream of changes, for whoever follows.

use super::{Ask, Asks, Followed};
use futures_util::{Stream, stream};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::{broadcast, oneshot};
use vfiod_proto::status::Update;

struct Following {
    asks: Asks,
    now: VecDeque<Arc<Update>>,
    changes: Option<broadcast::Receiver<Arc<Update>>>,
}

/// Everything, then what changes. Who is too slow is told everything anew. Ends when the agent stops.
pub fn updates(asks: Asks) -> impl Stream<Item = Arc<Update>> + Send {
    let following = Following { asks, now: VecDeque::new(), changes: None };
    stream::unfold(following, |mut following| async move { following.next().await.map(|update| (update, following)) })
}

impl Following {
    async fn next(&mut self) -> Option<Arc<Update>> {
        loop {
            if let Some(update) = self.now.pop_front() {
                return Some(update);
            }
            match &mut self.changes {
                Some(changes) => match changes.recv().await {
                    Ok(update) => return Some(update),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.changes = None,
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                None => {
                    let (answer, answered) = oneshot::channel();
                    self.asks.send(Ask::Follow(answer)).ok()?;
                    let Followed { now, changes } = answered.await.ok()?;
                    self.now = now.into();
                    self.changes = Some(changes);
                }
            }
        }
    }
}
