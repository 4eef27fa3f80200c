//! One look at all sources of ownership, joined into the values that the ledger folds.

use super::{PodNames, bounded::Question, checkpoint, kubelet_up, pod_names, pod_resources};
use crate::io::FileIo;
use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use vfiod_core::ownership::{Allocation, Moment, Owner, Pod, Reading, Source, takeover::Formers};

/// Where the sources are, and what is still being asked of them. Used on one thread, inside a
/// [`Runtime`](crate::io::Runtime).
pub struct Sources {
    io: FileIo,
    plugin_dir: PathBuf,
    pod_resources: PathBuf,
    pod_logs: PathBuf,
    checkpoint_question: Question<Result<checkpoint::Checkpoint, checkpoint::Error>>,
    list_question: Question<Result<Vec<pod_resources::Entry>, pod_resources::Error>>,
    names_question: Question<io::Result<PodNames>>,
    kubelet_question: Question<Option<Duration>>,
    /// What the ids of KubeVirt's own plugin stood for.
    formers: Formers,
}

impl Sources {
    /// The sources of the kubelet whose folder is `kubelet_dir`, on the host whose root is `host_root`.
    pub fn new(io: FileIo, kubelet_dir: &Path, host_root: &Path) -> Self {
        Self {
            io,
            plugin_dir: kubelet_dir.join("device-plugins"),
            pod_resources: kubelet_dir.join("pod-resources/kubelet.sock"),
            pod_logs: host_root.join("var/log/pods"),
            checkpoint_question: Question::new(),
            list_question: Question::new(),
            names_question: Question::new(),
            kubelet_question: Question::new(),
            formers: Formers::default(),
        }
    }

    /// Looks at all sources at once, for about a second at most. `begun` is the moment of the call.
    pub async fn read(&mut self, begun: Moment) -> Reading {
        let (io, plugin_dir, socket) = (self.io, self.plugin_dir.clone(), self.pod_resources.clone());
        let (logs, kubelet_dir) = (self.pod_logs.clone(), self.plugin_dir.clone());
        let (recorded, names, (listed, up)) = tokio::join!(
            self.checkpoint_question.ask(move || async move { checkpoint::read(io, &plugin_dir).await }),
            self.names_question.ask(move || async move {
                tokio::task::spawn_blocking(move || pod_names(&logs)).await.map_err(io::Error::other)?
            }),
            async {
                let listed = self.list_question.ask(move || async move { pod_resources::list(&socket).await }).await;
                // Asked afterwards: a kubelet that was replaced in between then counts as young, and what it did not
                // list yet proves nothing.
                let up = self.kubelet_question.ask(move || async move { kubelet_up(&kubelet_dir).await }).await;
                (listed, up)
            },
        );
        // Without names the owners are still told apart, by UID.
        let names = names.ok().and_then(Result::ok).unwrap_or_default();
        let mut words = Words::default();
        let checkpoint_path = || self.plugin_dir.join(vfiod_proto::KUBELET_CHECKPOINT);
        let checkpoint = match recorded {
            Ok(Ok(recorded)) => {
                // PodResources, which names ids alone, is understood by what the checkpoint says of them.
                let formers = &mut self.formers;
                Source::Read(recorded_allocations(&recorded.entries, &names, &mut words, formers))
            }
            Ok(Err(error)) => Source::Unavailable(error.to_string()),
            Err(hanging) => {
                Source::Unavailable(format!("the kubelet's checkpoint {} {hanging}", checkpoint_path().display()))
            }
        };
        let pod_resources = match listed {
            Ok(Ok(listed)) => Source::Read(listed_allocations(&listed, &mut words, &self.formers)),
            Ok(Err(error)) => Source::Unavailable(error.to_string()),
            Err(hanging) => Source::Unavailable(format!(
                "the kubelet's PodResources API at {} {hanging}",
                self.pod_resources.display()
            )),
        };
        Reading { begun, checkpoint, pod_resources, kubelet_up: up.ok().flatten() }
    }
}

/// Names repeat from device to device: one allocation each.
#[derive(Default)]
struct Words(HashSet<Arc<str>>);

impl Words {
    fn share(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.0.get(word) {
            return Arc::clone(known);
        }
        let word: Arc<str> = word.into();
        self.0.insert(Arc::clone(&word));
        word
    }
}

fn recorded_allocations(
    entries: &[checkpoint::Entry],
    names: &PodNames,
    words: &mut Words,
    formers: &mut Formers,
) -> Vec<Allocation> {
    let mut allocations = Vec::new();
    for entry in entries {
        let name = names.get(&entry.pod_uid).map(|(namespace, name)| (words.share(namespace), words.share(name)));
        let pod = Pod { uid: Some(words.share(&entry.pod_uid)), name };
        let owner = Owner { pod, container: words.share(&entry.container) };
        let resource = words.share(&entry.resource);
        formers.learn(&resource, &entry.formers);
        extend(&mut allocations, &resource, &entry.ids, &owner, entry.order, formers);
    }
    allocations
}

/// PodResources gives no UIDs, and none are looked up: the log folder of an earlier pod of that name may still be there.
fn listed_allocations(entries: &[pod_resources::Entry], words: &mut Words, formers: &Formers) -> Vec<Allocation> {
    let mut allocations = Vec::new();
    for entry in entries {
        let pod = Pod { uid: None, name: Some((words.share(&entry.namespace), words.share(&entry.pod))) };
        let owner = Owner { pod, container: words.share(&entry.container) };
        extend(&mut allocations, &words.share(&entry.resource), &entry.ids, &owner, 0, formers);
    }
    allocations
}

/// Ids that are no BDF and no UUID belong to other plugins. Of those only the ones are of interest that KubeVirt's own
/// plugin gave to a VFIO device.
fn extend(
    allocations: &mut Vec<Allocation>,
    resource: &Arc<str>,
    ids: &[String],
    owner: &Owner,
    order: u64,
    formers: &Formers,
) {
    let devices = ids.iter().filter_map(|id| formers.named(resource, id));
    allocations.extend(devices.map(|(device, former)| Allocation {
        resource: Arc::clone(resource),
        device,
        former,
        owner: owner.clone(),
        order,
    }));
}
