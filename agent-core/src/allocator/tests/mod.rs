//! Builders for resources with devices.

mod grant;
#[cfg(loom)]
mod loom;
mod size;
#[cfg(not(loom))]
mod threads;

use super::*;
use crate::{
    device::{Bdf, DeviceId, GroupId},
    health::{Health, Reason, Verdict},
    ownership::Moment,
};
use std::{sync::Arc, time::Duration};

const NOW: Moment = Duration::from_secs(100);

fn id(bus: u8) -> DeviceId {
    Bdf::new(0, bus, 0, 0).unwrap().into()
}

fn ready() -> Verdict {
    Verdict { health: Health::Healthy, reason: Reason::Ready }
}

fn removed() -> Verdict {
    Verdict { health: Health::Unhealthy, reason: Reason::Removed }
}

/// A healthy device in a group of its own.
fn slot(bus: u8) -> Arc<Slot> {
    let (id, group, word) = (id(bus), Some(GroupId::from(bus)), Arc::default());
    let nodes = vec![format!("/dev/vfio/{bus}").into()];
    Arc::new(Slot::new(Blueprint { id, numa: None, group, word, lone: true, former: None, nodes }, ready()))
}

fn resource(slots: Vec<Arc<Slot>>) -> Resource {
    let resource = Resource::new("a.com/gpu".parse().unwrap());
    resource.set_table(Table::new(slots));
    resource
}
