//! Telling the cluster what happened: Events of `events.k8s.io/v1`.
//!
//! Regarding a node, the UID is the node's name, as the kubelet has it (kubelet: `pkg/kubelet/kubelet.go`,
//! `NewMainKubelet`, `nodeRef`): `kubectl describe node` finds Events by that.

use super::{
    client::{Failure, connect},
    pause::Pause,
};
use crate::board::Board;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, warn};
use vfiod_core::{
    events::{Journal, Occurrence, Post},
    ownership::Pod,
};

/// How long one write may take.
const WRITE: Duration = Duration::from_secs(10);
/// The most that waits for an API server that is away; then the oldest are given up.
const WAITING: usize = 100;
/// The longest note (apiserver: `pkg/apis/core/validation/events.go`, `NoteLengthLimit`), in bytes.
const NOTE: usize = 1024;
const CONTROLLER: &str = "vfiod";
/// Where Events on objects without a namespace stand.
const DEFAULT_NAMESPACE: &str = "default";
/// Where older API servers want them: they refuse every other namespace (kubernetes 1.20:
/// `pkg/apis/core/validation/events.go`, `legacyValidateEvent`, where `EventTime` is set).
const SYSTEM_NAMESPACE: &str = "kube-system";

/// Tells the cluster what happens.
pub(super) struct Reporter {
    node: String,
    board: Arc<Board>,
    journal: Journal,
    begun: Instant,
    /// Makes the names of this agent's Events its own.
    mark: i128,
    waiting: VecDeque<Post>,
    client: Option<Client>,
    /// Where this API server takes Events on the node.
    on_nodes: &'static str,
    complained: Option<String>,
}

impl Reporter {
    pub(super) fn new(node: String, board: Arc<Board>) -> Self {
        Self {
            node,
            board,
            journal: Journal::default(),
            begun: Instant::now(),
            mark: Timestamp::now().as_nanosecond(),
            waiting: VecDeque::new(),
            client: None,
            on_nodes: DEFAULT_NAMESPACE,
            complained: None,
        }
    }

    /// Tells until the queue is closed.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Occurrence>) {
        let mut pause = Pause::default();
        let mut not_before = Instant::now();
        loop {
            while not_before <= Instant::now()
                && let Some(post) = self.waiting.front().cloned()
            {
                match self.write(&post).await {
                    Ok(()) => {
                        pause.reset();
                        self.board.cluster.events_written.one();
                        self.complained = None;
                        self.waiting.pop_front();
                    }
                    Err(Failure { why, text, is_final }) => {
                        if self.complained.as_ref() != Some(&text) {
                            warn!("an Event cannot be written: {text}");
                            self.complained = Some(text);
                        }
                        if is_final {
                            self.drop_first();
                        } else {
                            self.client = None;
                            not_before = Instant::now() + pause.next(why);
                        }
                    }
                }
            }
            let due = self.journal.next().map(|moment| self.begun + moment);
            let wake = due.into_iter().chain((!self.waiting.is_empty()).then_some(not_before)).min();
            tokio::select! {
                occurrence = queue.recv() => {
                    let Some(occurrence) = occurrence else { return };
                    let (now, dropped) = (self.begun.elapsed(), self.journal.dropped());
                    let post = self.journal.take(occurrence, now);
                    if self.journal.dropped() > dropped {
                        self.board.cluster.events_dropped.one();
                    }
                    self.waiting.extend(post);
                }
                () = sleep_until(wake.unwrap_or(not_before)), if wake.is_some() => {
                    let due = self.journal.due(self.begun.elapsed());
                    self.waiting.extend(due);
                }
            }
            while self.waiting.len() > WAITING {
                self.drop_first();
            }
        }
    }

    fn drop_first(&mut self) {
        if self.waiting.pop_front().is_some() {
            self.board.cluster.events_dropped.one();
        }
    }

    /// Writes one post: an Event on the node, and one on the pod where it concerns one.
    async fn write(&mut self, post: &Post) -> Result<(), Failure> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(connect().await?).clone(),
        };
        let (Post::Create { occurrence, .. } | Post::Repeat { occurrence, .. }) = post;
        let node = self.node_reference();
        let mut on_node = self.write_on(&client, post, node.clone(), None).await;
        if self.on_nodes == DEFAULT_NAMESPACE && on_node.as_ref().is_err_and(is_about_namespace) {
            self.on_nodes = SYSTEM_NAMESPACE;
            on_node = self.write_on(&client, post, node.clone(), None).await;
        }
        if on_node.as_ref().is_err_and(|failure| !failure.is_final) {
            return on_node;
        }
        // What the server refuses on the node for good it may take on the pod.
        let pod = occurrence.pod.as_ref().and_then(pod_reference);
        let on_pod = match pod {
            Some(pod) => self.write_on(&client, post, pod, Some(node)).await,
            None => Ok(()),
        };
        on_node.and(on_pod)
    }

    async fn write_on(
        &self,
        client: &Client,
        post: &Post,
        regarding: ObjectReference,
        related: Option<ObjectReference>,
    ) -> Result<(), Failure> {
        const DOING: &str = "write an Event";
        let namespace = regarding.namespace.clone().unwrap_or_else(|| self.on_nodes.to_owned());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let (series, again, occurrence) = match post {
            Post::Create { series, occurrence } => (*series, None, occurrence),
            Post::Repeat { series, count, occurrence } => (*series, Some(*count), occurrence),
        };
        let name = format!("{}.{:x}.{series}", regarding.name.as_deref().unwrap_or(CONTROLLER), self.mark);
        let written = async {
            if let Some(count) = again {
                let count = i32::try_from(count).unwrap_or(i32::MAX);
                let series = EventSeries { count, last_observed_time: MicroTime(Timestamp::now()) };
                let patch = serde_json::json!({ "series": series });
                match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                    // Events live an hour: it is told as a new one.
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    patched => return patched.map(|_| ()),
                }
            }
            let event = self.event(occurrence, name.clone(), namespace.clone(), regarding, related);
            match api.create(&PostParams::default(), &event).await {
                // A try before this one was not in vain: only its answer was lost.
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                created => created.map(|_| ()),
            }
        };
        match timeout(WRITE, written).await {
            Ok(Ok(())) => {
                debug!(event = occurrence.kind.reason(), name, "told the cluster");
                Ok(())
            }
            Ok(Err(error)) => Err(Failure::of(DOING, &error)),
            Err(_) => Err(Failure::unreached(format!("no answer within {} s to {DOING}", WRITE.as_secs()))),
        }
    }

    fn event(
        &self,
        occurrence: &Occurrence,
        name: String,
        namespace: String,
        regarding: ObjectReference,
        related: Option<ObjectReference>,
    ) -> Event {
        let Occurrence { kind, note, .. } = occurrence;
        Event {
            metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
            event_time: Some(MicroTime(Timestamp::now())),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(format!("{CONTROLLER}-{}", self.node).chars().take(128).collect()),
            action: Some(kind.action().to_owned()),
            reason: Some(kind.reason().to_owned()),
            type_: Some(if kind.is_warning() { "Warning" } else { "Normal" }.to_owned()),
            note: Some(cut(note)),
            regarding: Some(regarding),
            related,
            ..Event::default()
        }
    }

    fn node_reference(&self) -> ObjectReference {
        ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(self.node.clone()),
            uid: Some(self.node.clone()),
            ..ObjectReference::default()
        }
    }
}

/// The pod, where its name is known.
fn pod_reference(pod: &Pod) -> Option<ObjectReference> {
    let (namespace, name) = pod.name.as_ref()?;
    Some(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(namespace.to_string()),
        name: Some(name.to_string()),
        uid: pod.uid.as_ref().map(ToString::to_string),
        ..ObjectReference::default()
    })
}

/// A note of a length that the API server takes.
fn cut(note: &str) -> String {
    if note.len() <= NOTE {
        return note.to_owned();
    }
    let most = NOTE - '…'.len_utf8();
    let end =
        note.char_indices().map(|(at, character)| at + character.len_utf8()).take_while(|&end| end <= most).last();
    format!("{}…", note.get(..end.unwrap_or_default()).unwrap_or_default())
}

/// Whether a failure is worth another try.
pub(super) const fn is_worth_another_try(code: u16) -> bool {
    matches!(code, 401 | 408 | 429 | 500..)
}

/// Whether an Event was refused for the namespace that it stands in. The server says so in words only.
fn is_about_namespace(failure: &Failure) -> bool {
    failure.is_final && failure.text.contains("involvedObject.namespace")
}

/// The name of this host, where nobody says what the cluster calls it.
#[must_use]
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().to_lowercase();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_note_is_never_too_long_and_never_cut_in_a_character(note in ".{0,1500}") {
            let cut = cut(&note);
            proptest::prop_assert!(cut.len() <= NOTE);
            proptest::prop_assert!(cut == note || cut.ends_with('…') && note.starts_with(cut.trim_end_matches('…')));
        }
    }

    #[test]
    fn what_the_server_will_refuse_again_is_not_tried_again() {
        assert!([401, 429, 500, 503].into_iter().all(is_worth_another_try));
        assert!(![400, 403, 404, 409, 422].into_iter().any(is_worth_another_try));
    }

    #[test]
    fn a_pod_without_a_name_has_no_events_of_its_own() {
        assert_eq!(pod_reference(&Pod { uid: Some("u".into()), name: None }), None);
        let pod = pod_reference(&Pod { uid: Some("u".into()), name: Some(("vms".into(), "vm".into())) }).unwrap();
        assert_eq!((pod.namespace.as_deref(), pod.uid.as_deref()), (Some("vms"), Some("u")));
    }
}
