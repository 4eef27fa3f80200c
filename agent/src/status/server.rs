//! Answering questions, each by asking the reactor.

use super::{
    Asks, Permitted, Piece,
    candidates::{gather, remarks},
    socket::{BindError, Socket},
    updates,
};
use crate::{
    board::{Board, Condition, Part},
    instance::Keeper,
};
use futures_util::{Stream, StreamExt, stream};
use std::{convert::Infallible, path::Path, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    net::UnixListener,
    sync::{broadcast, mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use tonic::{Request, Response, Status};
use tracing::{info, warn};
use vfiod_core::device::DeviceId;
use vfiod_proto::status::{
    DeviceList, DevicesReply, DevicesRequest, ExplainRequest, Explanation, FollowRequest, HolderEvent, HoldersReply,
    HoldersRequest, MarkReply, MarkRequest, Update,
    status_server::{Status as Api, StatusServer},
};

/// A question to the reactor.
#[derive(Debug)]
pub enum Query {
    /// Are you alive?
    Ping(oneshot::Sender<()>),
    /// What does the kernel say now?
    Look(Look),
    /// Which candidates are there, and what is to be said of them? The first ones.
    Devices {
        /// Whether those that are not permitted are wanted too.
        others: bool,
        /// Where the answer goes.
        answer: oneshot::Sender<First>,
    },
    /// Which ones follow on this one?
    DevicesAfter {
        /// The last one of the piece before.
        after: DeviceId,
        /// As above.
        others: bool,
        /// Where the answer goes.
        answer: oneshot::Sender<Piece>,
    },
    /// Change what sticks to a device. Nothing, where neither the host nor the kubelet knows it.
    Mark(DeviceId, Mark, oneshot::Sender<Option<Marked>>),
}

/// A question that a fresh look at the kernel answers.
#[derive(Debug)]
pub enum Look {
    /// What is open now?
    Holders(oneshot::Sender<HoldersReply>),
    /// What is open now, and what changes from then on?
    Follow(oneshot::Sender<(HoldersReply, broadcast::Receiver<HolderEvent>)>),
    /// Which candidates are there? With what the reactor has to say besides, and whether others are wanted too.
    Devices(bool, DevicesReply, oneshot::Sender<First>),
    /// What is known of a device? Nothing, where neither the host nor the kubelet knows it.
    Explain(DeviceId, oneshot::Sender<Option<Explanation>>),
}

/// The beginning of an answer about candidates.
#[derive(Debug)]
pub struct First {
    /// What is to be said besides; its list has no device yet.
    pub reply: DevicesReply,
    /// What is permitted.
    pub permitted: Vec<Permitted>,
    /// The first candidates.
    pub piece: Piece,
}

/// What an administrator does to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Keep it from being given to anybody.
    Cordon,
    /// End that.
    Uncordon,
    /// End a sticky fault.
    Clear,
}

impl Mark {
    /// What was done, for the log and for whoever did it.
    #[must_use]
    pub const fn done(self) -> &'static str {
        match self {
            Self::Cordon => "cordoned: it is given to nobody; whoever owns it keeps it",
            Self::Uncordon => "uncordoned",
            Self::Clear => "cleared of its fatal PCI error",
        }
    }

    /// What is said where it was so already.
    #[must_use]
    pub const fn was_so(self) -> &'static str {
        match self {
            Self::Cordon => "is cordoned already",
            Self::Uncordon => "is not cordoned",
            Self::Clear => "has no fatal PCI error",
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Marked {
    /// Whether it was not so already.
    pub changed: bool,
    /// Told when it is kept for the next start of vfiod, or why it is not.
    pub kept: oneshot::Receiver<std::io::Result<()>>,
}

/// How long the reactor may take: a look at the kernel's tables takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before looking again whether the socket is free, while a vfiod with another state folder has it.
const RETRY: Duration = Duration::from_secs(10);

/// The pause after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves on the socket at `path` until `stop` is set, from the moment on in which this vfiod keeps the state. Never ends
/// the agent: what keeps it from serving is logged.
pub async fn serve(
    path: &Path,
    mut keeper: Keeper,
    board: &Board,
    queries: mpsc::UnboundedSender<Query>,
    asks: Asks,
    mut stop: watch::Receiver<bool>,
) {
    if !keeper.is_keeper() {
        board.set(
            Part::StatusSocket,
            Condition::Good("another vfiod on this host answers there; this one does when that has ended".to_owned()),
        );
    }
    tokio::select! {
        () = keeper.elected() => {}
        _ = stop.wait_for(|stop| *stop) => return,
    }
    let mut told = false;
    let (socket, listener) = loop {
        match Socket::bind(path) {
            Ok(bound) => break bound,
            Err(taken @ BindError::Taken(_)) => {
                if !std::mem::replace(&mut told, true) {
                    info!("{taken}");
                }
                board.set(Part::StatusSocket, Condition::Degraded(taken.to_string()));
            }
            Err(error) => {
                board.set(Part::StatusSocket, Condition::Degraded(error.to_string()));
                return warn!("{error}; `vfiod holders` and `vfiod explain` read the host themselves");
            }
        }
        tokio::select! {
            () = sleep(RETRY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    };
    board.set(Part::StatusSocket, Condition::Good(path.display().to_string()));
    let service = StatusServer::new(Service { queries, asks, stop: stop.clone() });
    let end = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let served = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(incoming(listener), end)
        .await;
    if let Err(error) = served {
        warn!("the status socket failed: {error}");
    }
    drop(socket);
}

fn incoming(listener: UnixListener) -> impl Stream<Item = Result<tokio::net::UnixStream, Infallible>> + Send {
    stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((Ok(stream), listener)),
                Err(_) => sleep(PAUSE).await,
            }
        }
    })
}

struct Service {
    queries: mpsc::UnboundedSender<Query>,
    asks: Asks,
    stop: watch::Receiver<bool>,
}

impl Service {
    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, Status> {
        let (answer, answered) = oneshot::channel();
        let stopping = || Status::unavailable("vfiod is stopping");
        self.queries.send(query(answer)).map_err(|_| stopping())?;
        match timeout(PATIENCE, answered).await {
            Ok(answer) => answer.map_err(|_| stopping()),
            Err(_) => Err(Status::deadline_exceeded(format!(
                "the kernel's tables could not be read within {} s; see the log of vfiod",
                PATIENCE.as_secs()
            ))),
        }
    }
}

impl Service {
    async fn mark(&self, device: &str, mark: Mark) -> Result<Response<MarkReply>, Status> {
        let id = parsed(device)?;
        let marked = self.ask(|answer| Query::Mark(id, mark, answer)).await?;
        let Marked { changed, kept } = marked.ok_or_else(|| unknown(id))?;
        match kept.await {
            Ok(Ok(())) => Ok(Response::new(MarkReply { changed })),
            Ok(Err(error)) => Err(Status::internal(format!(
                "it is so from now on, but not after a restart of vfiod: the file of marks cannot be written: {error}"
            ))),
            Err(_) => Err(Status::unavailable("vfiod is stopping")),
        }
    }
}

type Updates = Pin<Box<dyn Stream<Item = Result<Update, Status>> + Send>>;
type Events = Pin<Box<dyn Stream<Item = Result<HolderEvent, Status>> + Send>>;

#[tonic::async_trait]
impl Api for Service {
    async fn holders(&self, _: Request<HoldersRequest>) -> Result<Response<HoldersReply>, Status> {
        self.ask(|answer| Query::Look(Look::Holders(answer))).await.map(Response::new)
    }

    type FollowHoldersStream = Events;

    async fn follow_holders(&self, _: Request<HoldersRequest>) -> Result<Response<Events>, Status> {
        let (now, changes) = self.ask(|answer| Query::Look(Look::Follow(answer))).await?;
        let open = now.objects.into_iter().flat_map(opened);
        let changes = stream::unfold(changes, |mut changes| async move {
            match changes.recv().await {
                Ok(event) => Some((Ok(event), changes)),
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    let message = format!("{count} changes came faster than they were taken; follow again");
                    Some((Err(Status::data_loss(message)), changes))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        let mut stop = self.stop.clone();
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let events = stream::iter(open.map(Ok)).chain(changes).take_until(stopped);
        Ok(Response::new(Box::pin(events)))
    }

    type FollowStream = Updates;

    async fn follow(&self, _: Request<FollowRequest>) -> Result<Response<Updates>, Status> {
        let mut stop = self.stop.clone();
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let updates = updates(self.asks.clone()).map(|update| Ok(Arc::unwrap_or_clone(update)));
        Ok(Response::new(Box::pin(updates.take_until(stopped))))
    }

    async fn cordon(&self, request: Request<MarkRequest>) -> Result<Response<MarkReply>, Status> {
        self.mark(&request.get_ref().device, Mark::Cordon).await
    }

    async fn uncordon(&self, request: Request<MarkRequest>) -> Result<Response<MarkReply>, Status> {
        self.mark(&request.get_ref().device, Mark::Uncordon).await
    }

    async fn clear(&self, request: Request<MarkRequest>) -> Result<Response<MarkReply>, Status> {
        self.mark(&request.get_ref().device, Mark::Clear).await
    }

    async fn devices(&self, request: Request<DevicesRequest>) -> Result<Response<DevicesReply>, Status> {
        let others = request.get_ref().others;
        let First { mut reply, permitted, piece } = self.ask(|answer| Query::Devices { others, answer }).await?;
        let mut pieces = vec![piece];
        while let Some(after) = pieces.last().and_then(|piece| piece.next) {
            pieces.push(self.ask(|answer| Query::DevicesAfter { after, others, answer }).await?);
        }
        let complete = reply.list.take().is_some_and(|known| known.complete);
        let list = DeviceList { complete, ..gather(pieces) };
        reply.notes.extend(remarks(&permitted, &list));
        reply.list = Some(list);
        Ok(Response::new(reply))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<Explanation>, Status> {
        let id = parsed(&request.get_ref().device)?;
        let explanation = self.ask(|answer| Query::Look(Look::Explain(id, answer))).await?;
        explanation.map(Response::new).ok_or_else(|| unknown(id))
    }
}

fn parsed(device: &str) -> Result<DeviceId, Status> {
    device.parse().map_err(|error: vfiod_core::device::ParseDeviceIdError| Status::invalid_argument(error.to_string()))
}

fn unknown(id: DeviceId) -> Status {
    Status::not_found(format!("neither this host nor its kubelet knows {id}"))
}

/// What is open when a stream begins, as events.
fn opened(object: vfiod_proto::status::HeldObject) -> Vec<HolderEvent> {
    let event = HolderEvent {
        what: "open".to_owned(),
        kind: object.kind,
        id: object.id,
        resource: object.resource,
        owner: object.owner,
        open_count: object.open_count,
        ..HolderEvent::default()
    };
    if object.holders.is_empty() {
        return vec![event];
    }
    let of = |holder: vfiod_proto::status::Holder| {
        let at_ms = holder.since_ms.unwrap_or_default();
        HolderEvent { holder: Some(holder), at_ms, ..event.clone() }
    };
    object.holders.into_iter().map(of).collect()
}
