//! Builders for what the kubelet says.

mod fence;
mod generated;
mod ledger;

use super::*;
use crate::device::{Bdf, DeviceId};
use std::{sync::Arc, time::Duration};

/// A function of the card at `0000:3b:00`.
fn function(number: u8) -> DeviceId {
    Bdf::new(0, 0x3b, 0, number).unwrap().into()
}

const fn secs(secs: u64) -> Moment {
    Duration::from_secs(secs)
}

const GPU: &str = "nvidia.com/gpu";
const AUDIO: &str = "nvidia.com/audio";

fn grant(ledger: &mut Ledger, resource: &str, device: DeviceId, at: Moment, order: u64) {
    ledger.answered(&resource.into(), device, at, order);
}

/// A look at a kubelet that has been up for an hour and gave nothing to anybody.
fn look(begun: u64) -> Look {
    Look(Reading {
        begun: secs(begun),
        checkpoint: Source::Read(Vec::new()),
        pod_resources: Source::Read(Vec::new()),
        kubelet_up: Some(secs(3600)),
    })
}

struct Look(Reading);

impl Look {
    /// The checkpoint says that the pod with this UID has the device.
    fn recorded(self, uid: &str, container: &str, resource: &str, device: DeviceId) -> Self {
        self.recorded_as(Pod { uid: Some(uid.into()), name: None }, container, resource, device)
    }

    fn recorded_as(mut self, pod: Pod, container: &str, resource: &str, device: DeviceId) -> Self {
        let Source::Read(allocations) = &mut self.0.checkpoint else { panic!("the checkpoint cannot be read") };
        allocations.push(allocation(pod, container, resource, device));
        self
    }

    /// The answer for what was recorded last notes this order.
    fn ordered(mut self, order: u64) -> Self {
        let Source::Read(allocations) = &mut self.0.checkpoint else { panic!("the checkpoint cannot be read") };
        allocations.last_mut().unwrap().order = order;
        self
    }

    /// PodResources says that the pod of this name has the device.
    fn listed(mut self, pod: &str, container: &str, resource: &str, device: DeviceId) -> Self {
        let Source::Read(allocations) = &mut self.0.pod_resources else { panic!("PodResources cannot be read") };
        allocations.push(allocation(named(None, pod), container, resource, device));
        self
    }

    fn without_checkpoint(mut self) -> Self {
        self.0.checkpoint = Source::Unavailable("garbage".into());
        self
    }

    fn without_pod_resources(mut self) -> Self {
        self.0.pod_resources = Source::Unavailable("connection refused".into());
        self
    }

    fn kubelet_up(mut self, up: impl Into<Option<u64>>) -> Self {
        self.0.kubelet_up = up.into().map(secs);
        self
    }

    /// Folds this look; whether it changed anything.
    fn at(self, ledger: &mut Ledger) -> bool {
        !ledger.observe(&self.0).is_empty()
    }
}

fn allocation(pod: Pod, container: &str, resource: &str, device: DeviceId) -> Allocation {
    Allocation {
        resource: resource.into(),
        device,
        owner: Owner { pod, container: container.into() },
        former: None,
        order: 0,
    }
}

fn named(uid: Option<&str>, name: &str) -> Pod {
    Pod { uid: uid.map(Arc::from), name: Some(("vms".into(), name.into())) }
}

/// "free", "pending" or the owner.
fn state(ledger: &Ledger, resource: &str, device: DeviceId) -> String {
    match ledger.claim(resource, device).map(Claim::owner) {
        None => "free".into(),
        Some(None) => "pending".into(),
        Some(Some(Owner { pod: Pod { uid, name }, container })) => {
            let uid = uid.as_deref().unwrap_or("-");
            let name = name.as_ref().map_or("-", |(_, name)| name);
            format!("{uid} {name} {container}")
        }
    }
}
