//! What the loop does with what it hears: uevents, watches, the probe, and what was read of the host.

use super::{
    Node, TIDY_AFTER,
    ears::{Ears, Watched},
};
use crate::{
    board::Board,
    discovery::{Fault, Scan},
    monitor::{
        uevent,
        watch::{self, Change, ChangeKind},
    },
    probe::{Batch as ProbeBatch, EventKind, Losses, Severity},
    reactor::{
        host_reader::{HostRead, HostReader, Targets},
        lists::{Seen, sooner},
    },
};
use std::{collections::HashSet, time::Duration};
use tracing::{debug, warn};
use vfiod_core::{
    device::{DeviceId, Node as DeviceNode},
    inventory::Completeness,
    ownership::Moment,
};

/// How long after a start from memory everything is read: by then the first lists have been sent.
const AFTER_RECALL: Duration = Duration::from_millis(250);

impl Node {
    /// An event has come, at this moment.
    fn event(&mut self, ears: &Ears) {
        self.event_at.get_or_insert_with(|| ears.channels.desk.clock.now());
    }

    pub(super) fn uevents(&mut self, batch: uevent::Batch, ears: &mut Ears) {
        let noted = &ears.channels.desk.board.node;
        noted.uevents.add(batch.events.len() as u64);
        noted.events_dropped.add(batch.overrun.into());
        self.event(ears);
        if batch.overrun {
            warn!("the kernel dropped uevents: reading the whole host again");
            ears.host.want_all();
        }
        for event in batch.events {
            debug!(?event, "uevent");
            let groups = event.devices.iter().filter_map(|&id| self.inventory.host().group_of(id));
            groups.chain(event.group).for_each(|group| ears.host.want_group(group));
            ears.host.want_devices(event.devices);
        }
    }

    pub(super) fn watched(&mut self, batch: watch::Batch<Watched>, ears: &mut Ears) {
        let noted = &ears.channels.desk.board.node;
        noted.file_events.add(batch.changes.len() as u64);
        noted.events_dropped.add(batch.overflow.into());
        self.event(ears);
        if batch.overflow {
            warn!("the kernel dropped file events: looking at everything again");
            self.rescan(ears, ears.channels.desk.clock.now());
        }
        for change in batch.changes {
            match change.key {
                Watched::Plugins => {
                    if self.kubelet.changed(change.name.as_deref(), change.kind) {
                        ears.ownership.want();
                    }
                }
                // The probe knows better.
                Watched::Groups if change.kind.is_use() && ears.probe.is_some() => {}
                Watched::Groups if change.kind.is_use() => ears.holders.want(),
                Watched::Groups | Watched::Cdevs => self.node_moved(&change, &mut ears.host),
            }
        }
        self.kubelet.tell();
    }

    /// Something was opened or closed, or the kernel has told of a device.
    pub(super) fn probed(&mut self, batch: &ProbeBatch, ears: &mut Ears) {
        if batch.overrun || batch.modules_changed {
            ears.holders.want();
        }
        if batch.modules_changed {
            ears.host.want_all();
        }
        self.event(ears);
        if let Some(probe) = &ears.probe {
            let Losses { ring_full, opens_missed, releases_missed, forgotten } = probe.losses();
            let counters = ears.channels.desk.board.node.losses.iter();
            for (counter, count) in counters.zip([ring_full, opens_missed, releases_missed, forgotten]) {
                counter.is(count);
            }
        }
        for event in &batch.events {
            note(&event.kind, &ears.channels.desk.board);
            if ears.holders.happened(event, &mut self.inventory) {
                ears.ownership.want();
            }
            let Some(device) = event.object.device else { continue };
            match event.kind {
                // Before 6.2 nothing else says so until the holder closes the device.
                EventKind::Removing => {
                    debug!(%device, "the driver wants it back");
                    ears.host.want_devices([device]);
                    self.inventory.host().group_of(device).into_iter().for_each(|group| ears.host.want_group(group));
                }
                EventKind::Aer(severity) | EventKind::Recovery(severity) => self.errored(device, severity),
                EventKind::GroupOpened | EventKind::GroupClosed | EventKind::DeviceOpened | EventKind::DeviceClosed => {
                }
            }
        }
    }

    /// The kernel reported a PCI error.
    fn errored(&mut self, device: DeviceId, severity: Severity) {
        if !self.inventory.host().device(device).is_some_and(|device| device.binding.is_vfio()) {
            return;
        }
        match severity {
            Severity::Fatal => self.inventory.broke(device),
            Severity::NonFatal => warn!(%device, "the kernel reported a PCI error; the device goes on"),
            Severity::Correctable => debug!(%device, "the kernel reported a PCI error that the hardware has corrected"),
        }
    }

    /// A device node came or went.
    fn node_moved(&mut self, change: &Change<Watched>, host: &mut HostReader) {
        self.nodes_moved |= host.is_reading_nodes();
        let node = change.name.as_deref().and_then(|name| name.to_str()).and_then(|name| match change.key {
            Watched::Cdevs => Some(DeviceNode::Cdev(name.into())),
            _ => DeviceNode::in_folder(name),
        });
        let exists = match change.kind {
            ChangeKind::Created => true,
            ChangeKind::Removed => false,
            ChangeKind::Appeared | ChangeKind::Vanished => return host.want_all(),
            ChangeKind::Written | ChangeKind::Attrib | ChangeKind::Opened | ChangeKind::Closed => return,
        };
        let Some(node) = node else { return };
        self.inventory.node_changed(&node, exists);
        // The kernel makes and removes the node when a driver is bound or unbound: who is bound now?
        match node {
            DeviceNode::Group(group) | DeviceNode::NoIommu(group) => host.want_group(group),
            DeviceNode::Cdev(_) | DeviceNode::Container => {}
        }
    }

    pub(super) fn host_read(&mut self, read: HostRead, host: &mut HostReader, board: &Board, now: Moment) {
        // What the events said of nodes meanwhile is newer than what was read of them.
        let stale = std::mem::take(&mut self.nodes_moved);
        if stale {
            host.want_nodes();
        }
        match read {
            HostRead::All { scan, recalled } => {
                board.node.scans.one();
                if recalled {
                    debug!("what has not changed since the last vfiod was not read; it is now");
                    self.next_rescan = self.next_rescan.min(now + AFTER_RECALL);
                }
                self.correcting = std::mem::take(&mut self.rescanning) && self.event_at.is_none();
                let Scan { devices, groups, nodes, faults, complete } = *scan;
                let failed = faults.iter().filter(|fault| fault.leaves_out()).filter_map(|fault| fault.device);
                self.retries.note(failed, devices.iter().map(|device| device.id), now);
                let unreadable = faults.iter().filter_map(|fault| fault.device).collect();
                let seen = Seen { pci: complete.pci, mdev: complete.mdev, nodes: nodes.is_some() };
                self.next_rescan = sooner(self.next_rescan, now, self.lists.scanned(seen));
                let complete = Completeness { pci: complete.pci, mdev: complete.mdev, unreadable };
                self.tidy_at = Some(now + TIDY_AFTER);
                self.inventory.scanned(devices, groups, nodes.filter(|_| !stale), &complete);
                self.say_faults(faults);
            }
            HostRead::Some(Targets { devices, groups, nodes, faults }) => {
                let failed = faults.iter().filter_map(|fault| fault.device);
                self.retries.note(failed, devices.iter().map(|(id, _)| *id), now);
                for (id, device) in devices {
                    self.inventory.device_read(id, device);
                }
                for (id, group) in groups {
                    self.inventory.group_read(id, group);
                }
                if let Some(nodes) = nodes.filter(|_| !stale) {
                    self.inventory.nodes_read(nodes);
                }
                for fault in faults {
                    if self.faults.insert(fault.clone()) {
                        warn!("{fault}");
                    }
                }
            }
        }
    }

    /// Logs each fault once, as long as it lasts.
    fn say_faults(&mut self, faults: Vec<Fault>) {
        let now: HashSet<Fault> = faults.into_iter().collect();
        for fault in now.difference(&self.faults) {
            warn!("{fault}");
        }
        self.faults = now;
    }
}

/// Counts an event of the probe.
fn note(kind: &EventKind, board: &Board) {
    let noted = &board.node;
    match kind {
        EventKind::GroupOpened | EventKind::DeviceOpened => &noted.opens,
        EventKind::GroupClosed | EventKind::DeviceClosed => &noted.releases,
        EventKind::Aer(_) | EventKind::Recovery(_) => &noted.pci_errors,
        EventKind::Removing => &noted.removals,
    }
    .one();
}
