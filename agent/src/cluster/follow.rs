//! Following the KubeVirt CR: a list, then a watch from there on, for ever.

use super::{
    CrName, Document,
    choose::{Choice, Existing, choose},
    client::{Failure, connect, is_expired},
    pause::{Pause, Why},
};
use crate::board::{Board, Condition, Part};
use futures_util::{StreamExt, TryStreamExt};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, WatchEvent, WatchParams},
};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, error, info, warn};

/// How long a list may take.
const LIST: Duration = Duration::from_secs(15);
/// How long the server keeps a watch open, in seconds; then it is begun anew. A connection that died without a word is
/// noticed a little later than that.
const WATCH: u32 = 120;
/// How much later.
const GRACE: Duration = Duration::from_secs(10);
/// A watch that lasted this long was a good one: the pauses begin anew.
const GOOD: Duration = Duration::from_secs(5);

/// Follows the CR that is the source.
pub(super) struct Follower {
    wanted: CrName,
    board: Arc<Board>,
    documents: watch::Sender<Option<Document>>,
    existing: Existing,
    /// What was said last of which CRs there are; it is said once.
    said: String,
    /// Why the API server could not be followed the last time; it is said once.
    down: Option<String>,
}

/// Why a watch came to its end.
enum End {
    /// The server closed it: it goes on from where it was.
    Closed,
    /// Its resource version is too old: a list must tell what is there.
    Expired,
    /// It failed.
    Failed(Failure),
}

impl Follower {
    pub(super) fn new(wanted: CrName, board: Arc<Board>, documents: watch::Sender<Option<Document>>) -> Self {
        Self { wanted, board, documents, existing: Existing::new(), said: String::new(), down: None }
    }

    /// Follows until it is dropped. No failure ends it.
    pub(super) async fn run(mut self) {
        self.board.set(Part::Cluster, Condition::Degraded("the API server has not answered yet".to_owned()));
        let mut pause = Pause::default();
        loop {
            let failure = match connect().await {
                Ok(client) => self.session(client, &mut pause).await,
                Err(failure) => failure,
            };
            let why = failure.why;
            self.is_down(failure);
            sleep(pause.next(why)).await;
        }
    }

    /// Lists and watches until something fails.
    async fn session(&mut self, client: Client, pause: &mut Pause) -> Failure {
        let kind =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("kubevirt.io", "v1", "KubeVirt"), "kubevirts");
        let (api, fields): (Api<DynamicObject>, _) = match &self.wanted {
            CrName::Only => (Api::all_with(client, &kind), None),
            CrName::Named { namespace, name } => {
                (Api::namespaced_with(client, namespace, &kind), Some(format!("metadata.name={name}")))
            }
        };
        loop {
            let mut version = match self.list(&api, fields.clone()).await {
                Ok(version) => version,
                Err(failure) => return failure,
            };
            loop {
                let begun = Instant::now();
                let (end, heard) = self.watch(&api, fields.clone(), &mut version).await;
                if heard || begun.elapsed() >= GOOD {
                    pause.reset();
                }
                match end {
                    End::Failed(failure) => return failure,
                    End::Closed => sleep(pause.next(Why::Unreached)).await,
                    End::Expired => {
                        debug!("the watch of the KubeVirt CR has expired; listing again");
                        sleep(pause.next(Why::Unreached)).await;
                        break;
                    }
                }
            }
        }
    }

    /// Lists the CRs; returns the version to watch from.
    async fn list(&mut self, api: &Api<DynamicObject>, fields: Option<String>) -> Result<String, Failure> {
        const DOING: &str = "list kubevirts.kubevirt.io";
        let params = ListParams { field_selector: fields, ..ListParams::default() };
        let list = match timeout(LIST, api.list(&params)).await {
            Ok(Ok(list)) => list,
            Ok(Err(error)) => return Err(Failure::of(DOING, &error)),
            Err(_) => {
                let text = format!("the API server did not answer within {} s to {DOING}", LIST.as_secs());
                return Err(Failure::unreached(text));
            }
        };
        self.existing.clear();
        for object in &list.items {
            self.exists(object);
        }
        self.is_up();
        self.board.cluster.lists.one();
        self.tell();
        Ok(list.metadata.resource_version.unwrap_or_default())
    }

    /// Watches from `version` on; returns how it ended, and whether anything was heard.
    async fn watch(&mut self, api: &Api<DynamicObject>, fields: Option<String>, version: &mut String) -> (End, bool) {
        const DOING: &str = "watch kubevirts.kubevirt.io";
        let params = WatchParams { field_selector: fields, timeout: Some(WATCH), ..WatchParams::default() };
        let patience = Duration::from_secs(WATCH.into()) + GRACE;
        let events = match timeout(LIST, api.watch(&params, version)).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) if is_expired(&error) => return (End::Expired, false),
            Ok(Err(error)) => return (End::Failed(Failure::of(DOING, &error)), false),
            Err(_) => return (End::Failed(Failure::unreached(format!("no answer to {DOING}"))), false),
        };
        let mut events = pin!(events.into_stream());
        let mut heard = false;
        loop {
            let event = match timeout(patience, events.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) if is_expired(&error) => return (End::Expired, heard),
                Ok(Some(Err(error))) => return (End::Failed(Failure::of(DOING, &error)), heard),
                Ok(None) => return (End::Closed, heard),
                Err(_) => return (End::Failed(Failure::unreached("the watch of the KubeVirt CR fell silent")), heard),
            };
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    *version = object.resource_version().unwrap_or_default();
                    self.exists(&object);
                }
                WatchEvent::Deleted(object) => {
                    *version = object.resource_version().unwrap_or_default();
                    self.existing.remove(&(object.namespace().unwrap_or_default(), object.name_any()));
                }
                WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
                WatchEvent::Error(status) => {
                    let error = kube::Error::Api(status);
                    let end = if is_expired(&error) { End::Expired } else { End::Failed(Failure::of(DOING, &error)) };
                    return (end, heard);
                }
            }
            heard = true;
            self.tell();
        }
    }

    fn exists(&mut self, object: &DynamicObject) {
        let document = Document::of(object);
        self.existing.insert((document.namespace.clone(), document.name.clone()), document);
    }

    /// Tells the reactor what the source says now. Where there is no source any more, the last one holds.
    fn tell(&mut self) {
        let (condition, said) = match choose(&self.wanted, &self.existing) {
            Choice::One(document) => {
                self.documents.send_if_modified(|told| {
                    let changed = told.as_ref() != Some(document);
                    if changed {
                        *told = Some(document.clone());
                    }
                    changed
                });
                (Condition::Good(document.title()), format!("following {}", document.title()))
            }
            Choice::None => {
                let said = format!("{} does not exist", self.wanted);
                (Condition::Degraded(said.clone()), format!("{said}; the last good configuration stays in force"))
            }
            Choice::Several(names) => {
                let said = format!("there are several KubeVirt CRs, {names}; name one with --kubevirt NAMESPACE/NAME");
                (Condition::Degraded(said.clone()), format!("{said}; the last good configuration stays in force"))
            }
        };
        if self.said != said {
            match &condition {
                Condition::Good(_) => info!("{said}"),
                _ => error!("{said}"),
            }
            self.said = said;
        }
        self.board.set(Part::Cluster, condition);
    }

    fn is_up(&mut self) {
        if self.down.take().is_some() {
            info!("the API server answers again");
        }
    }

    /// Says once what is amiss.
    fn is_down(&mut self, failure: Failure) {
        self.board.cluster.failures.one();
        self.board.set(Part::Cluster, Condition::Degraded(failure.text.clone()));
        if self.down.as_ref() == Some(&failure.text) {
            debug!("{}", failure.text);
        } else {
            warn!("{}; what is in force stays, trying again until it works", failure.text);
        }
        self.down = Some(failure.text);
    }
}
