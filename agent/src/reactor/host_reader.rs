//! Reading the host off the reactor thread: one read at a time, wishes that come meanwhile are gathered for the next.
//!
//! Because every read begins after the wish for it, and reads never overlap, the last one applied is the newest truth.

use super::facts_file::FactsFile;
use crate::discovery::{
    Again, Fault, HostRoot, Reading, Remembered, Scan, look_again, read_device, read_group, read_nodes,
};
use std::{collections::BTreeSet, future::pending, time::Duration};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};
use tracing::error;
use vfiod_core::device::{DevNodes, Device, DeviceId, Group, GroupId};

/// What was read.
#[derive(Debug)]
pub(super) enum HostRead {
    /// Everything; `recalled` where some of it was not read but remembered.
    All { scan: Box<Scan>, recalled: bool },
    /// What events named.
    Some(Targets),
}

/// The result of a targeted read.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// Devices that were read, and those that are gone.
    pub(super) devices: Vec<(DeviceId, Option<Device>)>,
    /// Groups that were read, and those that are gone.
    pub(super) groups: Vec<(GroupId, Option<Group>)>,
    /// The nodes, where they were asked for.
    pub(super) nodes: Option<DevNodes>,
    /// What could not be read.
    pub(super) faults: Vec<Fault>,
}

/// What is to be read next.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Wishes {
    all: bool,
    nodes: bool,
    devices: BTreeSet<DeviceId>,
    groups: BTreeSet<GroupId>,
}

/// Reads the host on the blocking pool.
#[derive(Debug)]
pub(super) struct HostReader {
    root: HostRoot,
    facts: FactsFile,
    /// Whether the next look at everything is the first, and may take what is remembered.
    first: bool,
    wishes: Wishes,
    /// When the next read may begin.
    not_before: Option<Instant>,
    running: Option<JoinHandle<(HostRead, Remembered)>>,
    /// Whether the nodes are among what is being read.
    nodes: bool,
}

/// How long what follows an event is put off.
const MOMENT: Duration = Duration::from_millis(2);

impl HostReader {
    pub(super) fn new(root: HostRoot, facts: FactsFile) -> Self {
        Self { root, facts, first: true, wishes: Wishes::default(), not_before: None, running: None, nodes: false }
    }

    /// Asks for everything.
    pub(super) const fn want_all(&mut self) {
        self.wishes.all = true;
    }

    /// Asks for the nodes below `/dev/vfio`.
    pub(super) const fn want_nodes(&mut self) {
        self.wishes.nodes = true;
    }

    /// Asks for devices, and for the groups they are in then.
    pub(super) fn want_devices(&mut self, devices: impl IntoIterator<Item = DeviceId>) {
        self.wishes.devices.extend(devices);
    }

    /// Asks for a group and all its members.
    ///
    /// It is read a moment later: nodes come and go in storms, and the kubelet is to be told of them first.
    pub(super) fn want_group(&mut self, group: GroupId) {
        if self.wishes == Wishes::default() {
            self.not_before = Some(Instant::now() + MOMENT);
        }
        self.wishes.groups.insert(group);
    }

    /// Whether the nodes are being read now: on a large host that takes milliseconds, in which some may come or go.
    pub(super) const fn is_reading_nodes(&self) -> bool {
        self.nodes && self.running.is_some()
    }

    /// Whether something is being read, or will be.
    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some() || self.wishes != Wishes::default()
    }

    /// The next result; waits for ever while nothing is wished. Cancelling it loses nothing.
    pub(super) async fn done(&mut self) -> HostRead {
        loop {
            if self.running.is_none() {
                if self.wishes == Wishes::default() {
                    return pending().await;
                }
                if let Some(moment) = self.not_before {
                    sleep_until(moment).await;
                    self.not_before = None;
                }
                let (root, wishes) = (self.root.clone(), std::mem::take(&mut self.wishes));
                self.nodes = wishes.all || wishes.nodes;
                let recalls = (wishes.all && std::mem::take(&mut self.first)).then(|| self.facts.clone());
                self.running = Some(spawn_blocking(move || wishes.fulfil(&root, recalls.as_ref())));
            }
            let Some(running) = &mut self.running else { continue };
            let read = running.await;
            self.running = None;
            match read {
                Ok((read, found)) => {
                    self.keep(found);
                    return read;
                }
                Err(error) => {
                    error!("reading the host failed unexpectedly: {error}; the last state holds until the next rescan");
                }
            }
        }
    }
}

impl HostReader {
    /// Keeps what was found, while the reactor goes on with it.
    fn keep(&self, found: Remembered) {
        if !found.is_empty() {
            let (facts, root) = (self.facts.clone(), self.root.clone());
            drop(spawn_blocking(move || facts.keep(&found, &root)));
        }
    }
}

impl Wishes {
    /// Reads what is wished, and says what of it is to be remembered.
    fn fulfil(self, root: &HostRoot, recalls: Option<&FactsFile>) -> (HostRead, Remembered) {
        if self.all {
            let recall = || recalls.map(|facts| facts.read(root)).unwrap_or_default();
            let Again { scan, found, recalled } = look_again(root, recall);
            return (HostRead::All { scan: Box::new(scan), recalled: recalled.is_some() }, found);
        }
        let mut targets = Targets::default();
        let mut groups = BTreeSet::new();
        let mut devices = self.devices;
        for id in self.groups {
            targets.group(root, id);
            let group = targets.groups.last().and_then(|(_, group)| group.as_ref());
            devices.extend(group.into_iter().flat_map(Group::devices));
        }
        for id in devices {
            match read_device(root, id) {
                Reading::Present(device) => {
                    groups.extend(device.group);
                    targets.devices.push((id, Some(device)));
                }
                Reading::Gone => targets.devices.push((id, None)),
                Reading::Fault(fault) => targets.faults.push(fault),
            }
        }
        let read: BTreeSet<GroupId> = targets.groups.iter().map(|(id, _)| *id).collect();
        groups.difference(&read).for_each(|&id| targets.group(root, id));
        if self.nodes {
            match read_nodes(root) {
                Ok(nodes) => targets.nodes = Some(nodes),
                Err(fault) => targets.faults.push(fault),
            }
        }
        (HostRead::Some(targets), Remembered::default())
    }
}

impl Targets {
    fn group(&mut self, root: &HostRoot, id: GroupId) {
        match read_group(root, id) {
            Ok(group) => self.groups.push((id, group)),
            Err(fault) => self.faults.push(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Keeper;
    use tokio::time::timeout;

    #[tokio::test]
    async fn nodes_are_being_read_only_where_they_were_wished_for() {
        let folder = tempfile::tempdir().unwrap();
        let facts = FactsFile::new(folder.path(), Keeper::onlooker());
        let mut reader = HostReader::new(HostRoot::new(folder.path()), facts);
        let device = "0000:3b:00.0".parse().unwrap();
        type Wish<'w> = &'w dyn Fn(&mut HostReader);
        let (one, nodes, all): (Wish<'_>, Wish<'_>, Wish<'_>) =
            (&|reader| reader.want_devices([device]), &HostReader::want_nodes, &HostReader::want_all);
        for (wish, with_nodes) in [(one, false), (nodes, true), (one, false), (all, true)] {
            wish(&mut reader);
            assert!(!reader.is_reading_nodes(), "nothing is read yet");
            // Begun, and by now perhaps done.
            let begun = timeout(Duration::ZERO, reader.done()).await;
            assert!(begun.is_ok() || reader.is_reading_nodes() == with_nodes);
            if begun.is_err() {
                reader.done().await;
            }
            assert!(!reader.is_reading_nodes(), "it is done");
        }
    }
}
