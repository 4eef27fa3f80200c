//! What the kernel says of holders and of broken devices, and what of it still has to be released.

use super::Inventory;
use crate::{
    device::DeviceId,
    health::Holder,
    holding::{Held, Holdings, Object, Relation, relation},
    ownership::{Claim, Moment},
};
use std::sync::Arc;

/// What a container has to wait for before it can open its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreleased {
    /// The device that was asked for.
    pub device: DeviceId,
    /// Who still has it, or anything else of its group.
    pub holder: Holder,
    /// Whether it is proved that the holder is not of the pod that asks.
    pub proved: bool,
}

impl Inventory {
    /// Takes what is open of one object now.
    pub fn held(&mut self, object: Object, held: Held) {
        if self.seen.holdings.set(object, held) {
            self.mark_object(object);
        }
    }

    /// Takes all that is open now.
    pub fn held_all(&mut self, all: impl IntoIterator<Item = (Object, Held)>) {
        for object in self.seen.holdings.replace(all) {
            self.mark_object(object);
        }
    }

    /// Lets any holder be an owner's until then, unless a source of ownership is read before: for the start of an agent, when
    /// devices are in use and the kubelet may take its time to say by whom.
    pub const fn be_patient(&mut self, until: Moment) {
        self.seen.patient_until = until;
    }

    /// Takes a fatal PCI error. It sticks until the device is bound anew, which resets it, or is cleared.
    pub fn broke(&mut self, device: DeviceId) {
        if self.seen.broken.insert(device) {
            self.dirty.push(device);
        }
    }

    /// Forgets the fatal PCI error of a device; returns whether there was one.
    pub fn cleared(&mut self, device: DeviceId) -> bool {
        let cleared = self.seen.broken.remove(&device);
        if cleared {
            self.dirty.push(device);
        }
        cleared
    }

    /// Keeps a device from being given to anybody, or ends that; returns whether it was not so already.
    pub fn cordon(&mut self, device: DeviceId, cordoned: bool) -> bool {
        let all = &mut self.seen.cordoned;
        let changed = if cordoned { all.insert(device) } else { all.remove(&device) };
        if changed {
            self.dirty.push(device);
        }
        changed
    }

    /// Devices that an administrator keeps back.
    pub fn cordoned(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.seen.cordoned.iter().copied()
    }

    /// Devices with a fatal PCI error.
    pub fn broken(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.seen.broken.iter().copied()
    }

    /// All that is open.
    #[must_use]
    pub const fn holdings(&self) -> &Holdings {
        &self.seen.holdings
    }

    /// Whether anybody, whoever it is, has one of these devices open, or anything else of their groups.
    #[must_use]
    pub fn are_open(&self, devices: &[DeviceId]) -> bool {
        devices.iter().any(|&device| {
            let members = self.host.group_members(device).map(Object::Device);
            let group = self.host.group_of(device).map(Object::Group);
            let mut objects = std::iter::once(Object::Device(device)).chain(members).chain(group);
            objects.any(|object| self.seen.holdings.get(object).is_some())
        })
    }

    /// Who still has one of the devices that the container was given, or anything else of its group, and is not of its pod.
    ///
    /// What is proved is named before what is not.
    #[must_use]
    pub fn unreleased(&self, resource: &str, devices: &[DeviceId]) -> Option<Unreleased> {
        let all = || devices.iter().flat_map(|&device| self.unreleased_device(resource, device));
        all().find(|unreleased| unreleased.proved).or_else(|| all().next())
    }

    fn unreleased_device(&self, resource: &str, device: DeviceId) -> Vec<Unreleased> {
        // A claim that the ledger has lost may be anybody's.
        let lost = Claim::pending(Moment::ZERO, u64::MAX);
        let claim = self.ledger.claim(resource, device).unwrap_or(&lost);
        let members = self.host.group_members(device).filter(|&member| member != device);
        let group = self.host.group_of(device).map(Object::Group);
        let is_open = |id: DeviceId| self.seen.holdings.get(Object::Device(id)).is_some();
        let device_is_open = is_open(device) || members.clone().any(is_open);
        let objects = std::iter::once(device).chain(members).map(Object::Device).chain(group);
        let mut found = Vec::new();
        for (object, held) in objects.filter_map(|object| Some((object, self.seen.holdings.get(object)?))) {
            let through = (object != Object::Device(device)).then_some(object);
            let mut blocks = |process, proved| {
                found.push(Unreleased { device, holder: Holder { through, process, stuck: false }, proved });
            };
            for opening in &held.by {
                let relation = relation(&opening.process, [claim]);
                if relation != Relation::Own {
                    blocks(Some(Arc::clone(&opening.process)), relation == Relation::Foreign);
                }
            }
            // A group whose descriptor was closed stays open for its devices: their holders say whose it is.
            let is_kept_by_a_device = matches!(object, Object::Group(_)) && device_is_open;
            if held.by.is_empty() && !is_kept_by_a_device {
                blocks(None, true);
            }
        }
        found
    }

    fn mark_object(&mut self, object: Object) {
        match object {
            Object::Device(device) => self.mark_with_group(device),
            Object::Group(group) => self.dirty.extend(self.host.members_of(group)),
        }
    }

    /// Marks all that is open, because it means something else now.
    pub(super) fn mark_held(&mut self) {
        let objects: Vec<Object> = self.seen.holdings.iter().map(|(object, _)| object).collect();
        for object in objects {
            self.mark_object(object);
        }
    }
}
