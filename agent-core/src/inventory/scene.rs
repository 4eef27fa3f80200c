//! Everything around one device under one resource, as the facts that health is judged from.

use super::{Host, groups::Sight};
use crate::{
    allocator::{Blueprint, GroupWord},
    device::{Binding, DevNodes, Device, DeviceId, GroupId},
    health::{COMPANION_WINDOW, Driver, Facts, GroupState, Holder, Sibling, Verdict, judge},
    holding::{Held, Holdings, Object, Process, Relation, relation},
    ownership::{Claim, Ledger, Moment},
    permit::Permit,
};
use std::{cmp::Reverse, collections::BTreeSet, sync::Arc};

/// What was seen in the kernel, besides what sysfs shows.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What is open, and by whom.
    pub(super) holdings: Holdings,
    /// Devices of which the kernel reported a fatal PCI error since they were bound last.
    pub(super) broken: BTreeSet<DeviceId>,
    /// Devices that an administrator keeps back.
    pub(super) cordoned: BTreeSet<DeviceId>,
    /// Whether a source of ownership has been read.
    pub(super) informed: bool,
    /// Until when any holder may be an owner's, while no source has been read.
    pub(super) patient_until: Moment,
}

/// What a verdict depends on besides the facts: how long they have held.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    /// It flapped, and must prove first that it is well.
    pub(super) settling: bool,
    /// Its last owner is gone for longer than a minute.
    pub(super) stuck: bool,
}

/// One device under one resource, and what is known around it.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) host: &'a Host,
    pub(super) ledger: &'a Ledger,
    pub(super) permit: &'a Permit,
    pub(super) seen: &'a Seen,
    /// The resource; none where the device is judged for itself.
    pub(super) resource: Option<&'a str>,
    pub(super) id: DeviceId,
    pub(super) now: Moment,
    /// The device, where the host has it; looked up once, because all that follows asks for it.
    device: Option<&'a Device>,
    /// Its group.
    group: Option<Sight<'a>>,
}

/// What all scenes of one moment have in common.
#[derive(Clone, Copy)]
pub(super) struct Stage<'a> {
    pub(super) host: &'a Host,
    pub(super) ledger: &'a Ledger,
    pub(super) permit: &'a Permit,
    pub(super) seen: &'a Seen,
    pub(super) now: Moment,
}

impl<'a> Stage<'a> {
    /// One device under one resource.
    pub(super) fn scene(self, resource: Option<&'a str>, id: DeviceId) -> Scene<'a> {
        let Self { host, ledger, permit, seen, now } = self;
        let device = host.device(id);
        let group = device.and_then(|device| host.sight(device.group?, Some(device)));
        Scene { host, ledger, permit, seen, resource, id, now, device, group }
    }
}

impl<'a> Scene<'a> {
    pub(super) const fn device(&self) -> Option<&'a Device> {
        self.device
    }

    /// Its claim under the resource; under any, where it is judged for itself.
    pub(super) fn claim(&self) -> Option<&'a Claim> {
        match self.resource {
            Some(resource) => self.ledger.claim(resource, self.id),
            None => self.ledger.of(self.id).next().map(|(_, claim)| claim),
        }
    }

    /// Whether it is bound to a VFIO driver; none where the host does not have it.
    pub(super) fn bound(&self) -> Option<bool> {
        self.device().map(|device| device.binding.is_vfio())
    }

    pub(super) const fn group(&self) -> Option<Sight<'a>> {
        self.group
    }

    /// What its slot is made of; none where the host does not have it.
    pub(super) fn blueprint(&self, word: Arc<GroupWord>) -> Option<Blueprint> {
        let device = self.device()?;
        let mut nodes = Vec::new();
        if let Some(group) = self.group() {
            nodes.push(DevNodes::path_of_group(device, group.id(), group.noiommu()).into());
            nodes.extend(self.host.nodes().cdev_paths(device).map(Into::into));
        }
        let lone = !self.others().any(|other| self.is_allocatable(other));
        let former = self.former();
        Some(Blueprint { id: self.id, numa: device.numa, group: device.group, word, lone, former, nodes })
    }

    /// The id of another plugin by which its owner has it under the resource.
    pub(super) fn former(&self) -> Option<GroupId> {
        self.ledger.former(self.resource?, self.id)
    }

    /// The verdict, under the conditions that depend on time.
    pub(super) fn verdict(&self, Times { settling, stuck }: Times) -> Verdict {
        let device = self.device();
        let driver = match device.map(|device| &device.binding) {
            Some(Binding::Vfio(_)) => Driver::Vfio,
            Some(Binding::Host(name)) => Driver::Host(name),
            Some(Binding::Unbound) | None => Driver::Unbound,
        };
        let group = self.group();
        let obstacle = group.and_then(Sight::obstacle);
        let state = match (group, &obstacle) {
            (None, _) => GroupState::Missing,
            (Some(group), Some(obstacle)) => GroupState::NotViable(group.id(), obstacle),
            (Some(group), None) if group.noiommu() && !self.allows_no_iommu() => GroupState::NoIommu(group.id()),
            (Some(_), None) => GroupState::Viable,
        };
        let nodes = self.host.nodes();
        let missing_node =
            device.zip(group).and_then(|(device, group)| nodes.missing_of(device, group.id(), group.noiommu()));
        let claim = self.claim();
        let holder = self.stranger().map(|holder| Holder { stuck, ..holder });
        judge(&Facts {
            present: device.is_some(),
            driver,
            group: state,
            missing_node: missing_node.as_deref(),
            claim,
            sibling: if claim.is_none() { self.gravest_sibling() } else { None },
            holder: holder.as_ref(),
            aer_fatal: self.seen.broken.contains(&self.id),
            cordoned: self.seen.cordoned.contains(&self.id),
            settling,
        })
    }

    /// When somebody who has it open is taken for a stranger although nothing happens: no source of ownership was read.
    pub(super) fn patience_deadline(&self) -> Option<Moment> {
        let waits = !self.seen.informed && self.now < self.seen.patient_until;
        (waits && self.open_objects().next().is_some()).then_some(self.seen.patient_until)
    }

    /// When a companion's claim begins to count: the verdict may change then though nothing happens.
    pub(super) fn companion_deadline(&self) -> Option<Moment> {
        let waiting = |sibling: &Sibling<'_>| !sibling.settled && sibling.claim.owner().is_some();
        self.siblings().filter(waiting).map(|sibling| sibling.claim.since + COMPANION_WINDOW).min()
    }

    /// Whether a process of a pod still has the device open, though nobody owns it any more.
    pub(super) fn is_left_open(&self) -> bool {
        let in_pod = |process: &Process| process.place.as_ref().is_some_and(|place| place.pod.is_some());
        self.claim().is_none()
            && self.stranger().and_then(|holder| holder.process).is_some_and(|process| in_pod(&process))
    }

    /// Whoever has the device open, or anything else of its group, and is proved to be of no pod that owns one of them.
    ///
    /// While no source of ownership has ever been read, a process of a pod is taken for the owner's; soon after the start
    /// any process is.
    fn stranger(&self) -> Option<Holder> {
        let claims = || self.members().flat_map(|id| self.ledger.of(id)).map(|(_, claim)| claim);
        let judge = |process: &Process| {
            let in_pod = process.place.as_ref().is_none_or(|place| place.pod.is_some());
            let may_own = !self.seen.informed && (in_pod || self.now < self.seen.patient_until);
            if may_own { Relation::Unknown } else { relation(process, claims()) }
        };
        self.open_objects().find_map(|(object, held)| {
            let through = (object != Object::Device(self.id)).then_some(object);
            let foreign = held.by.iter().find(|opening| judge(&opening.process) == Relation::Foreign);
            let process = foreign.map(|opening| Arc::clone(&opening.process));
            // What nobody shows can be anybody's: the owner's, where there is one.
            let unseen = held.by.is_empty() && self.seen.informed && claims().next().is_none();
            (process.is_some() || unseen).then_some(Holder { through, process, stuck: false })
        })
    }

    /// What is open of the device and its group, the device itself first.
    fn open_objects(&self) -> impl Iterator<Item = (Object, &'a Held)> + use<'a> {
        let holdings = &self.seen.holdings;
        let group = self.device.and_then(|device| device.group).map(Object::Group);
        let objects = self.members().map(Object::Device).chain(group);
        objects.filter_map(move |object| holdings.get(object).map(|held| (object, held)))
    }

    /// The members of its group, itself first.
    fn members(&self) -> impl Iterator<Item = DeviceId> + use<'a> {
        std::iter::once(self.id).chain(self.others())
    }

    /// Mediated devices never have an IOMMU of their own, and need none.
    fn allows_no_iommu(&self) -> bool {
        self.id.is_mdev() || self.permit.settings().allow_no_iommu
    }

    /// The other members of its group.
    fn others(&self) -> impl Iterator<Item = DeviceId> + use<'a> {
        let id = self.id;
        self.group.into_iter().flat_map(Sight::devices).filter(move |&member| member != id)
    }

    fn is_allocatable(&self, id: DeviceId) -> bool {
        self.host.device(id).is_some_and(|device| {
            device.binding.is_vfio() && self.permit.resource_of(device).is_some_and(|permitted| permitted.is_served())
        })
    }

    /// Of all claims against it the one that counts most: what is proved before what withholds at once, and of several
    /// the eldest.
    fn gravest_sibling(&self) -> Option<Sibling<'a>> {
        let weight = |sibling: &Sibling<'_>| {
            (sibling.is_proved(), sibling.withholds(), Reverse((sibling.claim.answered, sibling.claim.order)))
        };
        self.siblings().max_by_key(weight)
    }

    /// All claims that stand against it: on other members of its group, and on itself under other resources.
    fn siblings(&self) -> impl Iterator<Item = Sibling<'a>> + use<'a> {
        let Self { ledger, now, id, .. } = *self;
        let own = self.resource.unwrap_or_default();
        let group: Option<GroupId> = self.device().and_then(|device| device.group);
        self.others()
            .chain([id])
            .flat_map(move |device| ledger.of(device).map(move |(resource, claim)| (device, resource, claim)))
            .filter(move |&(device, resource, _)| !(device == id && resource == own))
            .map(move |(device, resource, claim)| Sibling {
                group,
                device,
                resource,
                companion: device != id && resource != own,
                claim,
                settled: !claim.answered || now >= claim.since + COMPANION_WINDOW,
            })
    }
}
