//! One device as it is listed under one resource.

use super::{
    GroupWord,
    sync::{ArcSwap, AtomicBool, Ordering},
};
use crate::{
    device::{DeviceId, GroupId},
    health::{Health, Verdict},
};
use std::sync::Arc;

/// A listed device. What it is never changes (another group or NUMA node makes another slot); how it is does.
#[derive(Debug)]
pub struct Slot {
    id: DeviceId,
    text: Box<str>,
    numa: Option<u32>,
    group: Option<GroupId>,
    word: Arc<GroupWord>,
    lone: bool,
    nodes: Box<[Box<str>]>,
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
    pub nodes: Vec<Box<str>>,
}

impl Blueprint {
    /// For a device that is claimed and that the host does not show, or no longer.
    pub(crate) fn unknown(id: DeviceId, word: Arc<GroupWord>) -> Self {
        Self { id, numa: None, group: None, word, lone: true, nodes: Vec::new() }
    }
}

impl Slot {
    pub(crate) fn new(blueprint: Blueprint, verdict: Verdict) -> Self {
        let Blueprint { id, numa, group, word, lone, nodes } = blueprint;
        Self {
            id,
            text: id.to_string().into(),
            numa,
            group,
            word,
            lone,
            nodes: nodes.into(),
            healthy: AtomicBool::new(verdict.health == Health::Healthy),
            verdict: ArcSwap::from_pointee(verdict),
        }
    }

    /// The device.
    #[must_use]
    pub const fn id(&self) -> DeviceId {
        self.id
    }

    /// The device's id as the kubelet knows it.
    #[must_use]
    pub const fn text(&self) -> &str {
        &self.text
    }

    /// Its NUMA node; none where the kernel says -1.
    #[must_use]
    pub const fn numa(&self) -> Option<u32> {
        self.numa
    }

    /// Its IOMMU group.
    #[must_use]
    pub const fn group(&self) -> Option<GroupId> {
        self.group
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
    #[must_use]
    pub const fn nodes(&self) -> &[Box<str>] {
        &self.nodes
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

    /// The most bytes that this device takes in a `ListAndWatch` message: tags, lengths, id, the longer of the two
    /// health words, and the topology.
    #[must_use]
    pub fn listed_size(&self) -> usize {
        let id = 2 + self.text.len();
        let health = 2 + "Unhealthy".len();
        let topology = self.numa.map_or(0, |node| 2 + 2 + 1 + varint_len(node.into()));
        let device = id + health + topology;
        1 + varint_len(device as u64) + device
    }

    /// Whether this slot is what `blueprint` describes.
    pub(crate) fn matches(&self, blueprint: &Blueprint) -> bool {
        self.id == blueprint.id
            && self.numa == blueprint.numa
            && self.group == blueprint.group
            && self.lone == blueprint.lone
            && Arc::ptr_eq(&self.word, &blueprint.word)
            && *self.nodes == *blueprint.nodes
    }

    /// Writes a new verdict; returns whether the health changed. Only the reactor calls this.
    pub(crate) fn decide(&self, verdict: Verdict) -> bool {
        let healthy = verdict.health == Health::Healthy;
        self.verdict.store(Arc::new(verdict));
        self.healthy.swap(healthy, Ordering::AcqRel) != healthy
    }
}

/// The length of a protobuf varint.
const fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}
