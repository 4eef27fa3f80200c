//! One device as it is listed under one resource.

use super::{
    GroupWord,
    compact::{Number, Short},
    list,
    sync::{ArcSwap, AtomicBool, Ordering},
    wire::{self, Field, Fields},
};
use crate::{
    device::{DevNodes, DeviceId, GroupId, former_id},
    health::{Health, Reason, Verdict},
};
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// A listed device. What it is never changes (another group or NUMA node makes another slot); how it is does.
pub struct Slot {
    id: DeviceId,
    numa: Number,
    group: Number,
    word: Arc<GroupWord>,
    /// The id as text, then the names of its device nodes below [`DevNodes::FOLDER`], each a field 1. In one piece, because a
    /// host may have very many devices. Where the device is listed under a former id, that stands before its own.
    prepared: Short,
    text_len: u8,
    /// The length of its own id, where it is listed under another; else 0.
    name_len: u8,
    lone: bool,
    healthy: AtomicBool,
    verdict: ArcSwap<Verdict>,
}

/// What a slot is made of.
#[derive(Debug, Clone)]
pub(crate) struct Blueprint {
    pub id: DeviceId,
    pub numa: Option<u32>,
    pub group: Option<GroupId>,
    pub word: Arc<GroupWord>,
    pub lone: bool,
    /// The id under which another plugin listed it, as long as somebody owns it by that.
    pub former: Option<GroupId>,
    pub nodes: Vec<Box<str>>,
}

impl Blueprint {
    /// For a device that is claimed and that the host does not show, or no longer.
    pub(crate) fn unknown(id: DeviceId, word: Arc<GroupWord>) -> Self {
        Self { id, numa: None, group: None, word, lone: true, former: None, nodes: Vec::new() }
    }
}

impl Slot {
    pub(crate) fn new(blueprint: Blueprint, verdict: Verdict) -> Self {
        let Blueprint { id, numa, group, word, lone, former, nodes } = blueprint;
        let name = id.to_string();
        let mut prepared = former.map_or_else(|| name.clone(), |former| former.to_string()).into_bytes();
        let text_len = u8::try_from(prepared.len()).unwrap_or_default();
        let name_len = if former.is_some() { u8::try_from(name.len()).unwrap_or_default() } else { 0 };
        if former.is_some() {
            prepared.extend_from_slice(name.as_bytes());
        }
        nodes.iter().for_each(|path| wire::put_field(&mut prepared, 1, below(path).as_bytes()));
        Self {
            id,
            numa: Number::new(numa),
            group: Number::new(group),
            word,
            prepared: Short::from(&*prepared),
            text_len,
            name_len,
            lone,
            healthy: AtomicBool::new(verdict.health == Health::Healthy),
            verdict: ArcSwap::new(shared(verdict)),
        }
    }

    /// The device.
    #[must_use]
    pub const fn id(&self) -> DeviceId {
        self.id
    }

    /// The id under which the kubelet is told of the device: its own, or the one that its owner was given it by.
    #[must_use]
    pub fn text(&self) -> &str {
        let text = self.prepared.get(..self.text_len.into()).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// The device's own id as text: what a virtual machine calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.name_len == 0 {
            return self.text();
        }
        let name = self.prepared.get(self.text_len.into()..self.nodes_at()).unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// The id of another plugin under which the device is listed, where it is.
    #[must_use]
    pub fn former(&self) -> Option<GroupId> {
        if self.name_len == 0 { None } else { former_id(self.text().as_bytes()) }
    }

    fn nodes_at(&self) -> usize {
        usize::from(self.text_len) + usize::from(self.name_len)
    }

    /// Its NUMA node; none where the kernel says -1.
    #[must_use]
    pub const fn numa(&self) -> Option<u32> {
        self.numa.get()
    }

    /// Its IOMMU group.
    #[must_use]
    pub const fn group(&self) -> Option<GroupId> {
        self.group.get()
    }

    /// The claim word of its group.
    #[must_use]
    pub fn group_word(&self) -> &GroupWord {
        &self.word
    }

    /// Whether no other member of its group can be allocated, under any resource.
    #[must_use]
    pub const fn is_lone(&self) -> bool {
        self.lone
    }

    /// The device nodes that a container needs for it, as host paths, `/dev/vfio/vfio` not included.
    pub fn nodes(&self) -> impl Iterator<Item = String> {
        self.node_names().filter_map(|name| {
            let name = std::str::from_utf8(name).ok()?;
            Some(format!("{}{name}", wire::folder_of(name.as_bytes())))
        })
    }

    /// The names of its device nodes below [`DevNodes::FOLDER`].
    pub(super) fn node_names(&self) -> impl Iterator<Item = &[u8]> {
        let mut fields = Fields(self.prepared.get(self.nodes_at()..).unwrap_or_default());
        std::iter::from_fn(move || match fields.next() {
            Ok(Some(Field::Bytes(_, name))) => Some(name),
            _ => None,
        })
    }

    /// Whether the kubelet is told that it may be allocated.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// How it is, and why.
    #[must_use]
    pub fn verdict(&self) -> Arc<Verdict> {
        self.verdict.load_full()
    }

    /// Why `Allocate` must refuse it now. It asks the verdict alone, so that a refusal always carries the reason for
    /// which it was made.
    #[must_use]
    pub fn refusal(&self) -> Option<Arc<Verdict>> {
        let verdict = self.verdict.load();
        verdict.reason.refuses().then(|| Arc::clone(&verdict))
    }

    pub(crate) fn word(&self) -> Arc<GroupWord> {
        Arc::clone(&self.word)
    }

    /// The most bytes that this device takes in a `ListAndWatch` message: with the longer of the two health words.
    #[must_use]
    pub fn listed_size(&self) -> usize {
        list::largest(self.text(), self.numa())
    }

    /// Whether this slot is what `blueprint` describes.
    pub(crate) fn matches(&self, blueprint: &Blueprint) -> bool {
        self.id == blueprint.id
            && self.numa == Number::new(blueprint.numa)
            && self.group == Number::new(blueprint.group)
            && self.lone == blueprint.lone
            && self.former() == blueprint.former
            && Arc::ptr_eq(&self.word, &blueprint.word)
            && self.node_names().eq(blueprint.nodes.iter().map(|path| below(path).as_bytes()))
    }

    /// Takes note that it was claimed, where nothing else of it has changed: what was ready is claimed now, and what was claimed
    /// stays so. Returns whether that is news; none where its verdict is another one, and must be judged. Only the reactor
    /// calls this.
    pub(crate) fn claimed(&self) -> Option<bool> {
        let verdict = self.verdict.load();
        let news = match (verdict.health, &verdict.reason) {
            (Health::Healthy, Reason::Claimed) => false,
            (Health::Healthy, Reason::Ready) => true,
            _ => return None,
        };
        drop(verdict);
        if news {
            self.verdict.store(shared(Verdict { health: Health::Healthy, reason: Reason::Claimed }));
        }
        Some(news)
    }

    /// Writes a new verdict; returns whether the health changed. Only the reactor calls this.
    pub(crate) fn decide(&self, verdict: Verdict) -> bool {
        let healthy = verdict.health == Health::Healthy;
        self.verdict.store(shared(verdict));
        self.healthy.swap(healthy, Ordering::AcqRel) != healthy
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("text", &self.text())
            .field("id", &self.id)
            .field("numa", &self.numa())
            .field("group", &self.group())
            .field("nodes", &self.nodes().collect::<Vec<_>>())
            .field("lone", &self.lone)
            .field("verdict", &self.verdict())
            .finish_non_exhaustive()
    }
}

/// The name of a node below the folder of all of them.
fn below(path: &str) -> &str {
    path.strip_prefix(DevNodes::FOLDER).and_then(|name| name.strip_prefix('/')).unwrap_or(path)
}

/// The verdict behind a pointer; of those that nearly all devices have there is one for all of them.
fn shared(verdict: Verdict) -> Arc<Verdict> {
    static READY: OnceLock<Arc<Verdict>> = OnceLock::new();
    static CLAIMED: OnceLock<Arc<Verdict>> = OnceLock::new();
    let common = match (verdict.health, &verdict.reason) {
        (Health::Healthy, Reason::Ready) => &READY,
        (Health::Healthy, Reason::Claimed) => &CLAIMED,
        _ => return Arc::new(verdict),
    };
    Arc::clone(common.get_or_init(|| Arc::new(verdict)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Bdf;

    /// With the two counters of an `Arc`, as large as a chunk of glibc's heap has room (`malloc/malloc.c`: 16 bytes a step, 8
    /// of them its own): one byte more takes 16 more of each device.
    #[test]
    #[cfg(all(target_pointer_width = "64", not(loom)))]
    fn a_slot_fits_into_its_chunk() {
        assert_eq!(size_of::<Slot>(), 72);
    }

    #[test]
    fn nodes_are_given_back_as_they_came() {
        let nodes =
            ["/dev/vfio/12", "/dev/vfio/noiommu-7", "/dev/vfio/devices/vfio12", "/elsewhere/vfio/3", "/dev/vfiox/3"];
        let id = Bdf::new(0, 0x3b, 0, 0).unwrap().into();
        let mut blueprint = Blueprint::unknown(id, Arc::default());
        blueprint.nodes = nodes.map(Into::into).into();
        let verdict = Verdict { health: Health::Healthy, reason: Reason::Ready };
        let slot = Slot::new(blueprint.clone(), verdict);
        assert_eq!(slot.nodes().collect::<Vec<_>>(), nodes);
        assert!(slot.matches(&blueprint));
        blueprint.nodes.pop();
        assert!(!slot.matches(&blueprint));
    }
}
