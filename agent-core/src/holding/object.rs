//! What can be held, and by whom it is.

use super::Process;
use crate::device::{DeviceId, GroupId};
use rustc_hash::FxHashMap;
use std::{fmt, sync::Arc};

/// What a process opens: a device, or a group on the way to its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// A device, through its group or through its own character device.
    Device(DeviceId),
    /// `/dev/vfio/<group>`. The kernel gives it to one opener at a time (kernel: `drivers/vfio/group.c`,
    /// `vfio_group_fops_open`), so whoever has it keeps everybody else from all of its devices.
    Group(GroupId),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => device.fmt(f),
            Self::Group(group) => write!(f, "IOMMU group {group}"),
        }
    }
}

/// A process that has an object open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The process.
    pub process: Arc<Process>,
    /// How many of its file descriptors show the object.
    pub descriptors: u32,
}

/// An object that is open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// How many open files there are, as the kernel counts them (`vfio_device.open_count`, `vfio_group.opened_file`); `None`
    /// where that cannot be read.
    pub count: Option<u32>,
    /// The processes that show one of them. A file can be open and shown by nobody: while it is passed over a socket,
    /// mapped after its descriptor was closed, or kept by the kernel itself.
    pub by: Vec<Opening>,
}

impl Held {
    /// Whether anybody has it open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.count.map_or(!self.by.is_empty(), |count| count > 0)
    }

    /// Adds descriptors of a process.
    pub fn add(&mut self, process: &Arc<Process>, descriptors: u32) {
        match self.by.iter_mut().find(|opening| opening.process.pid == process.pid) {
            Some(opening) => {
                opening.descriptors += descriptors;
                opening.process = Arc::clone(process);
            }
            None => self.by.push(Opening { process: Arc::clone(process), descriptors }),
        }
    }

    /// Whether a process shows it.
    #[must_use]
    pub fn shows(&self, pid: u32) -> bool {
        self.by.iter().any(|opening| opening.process.pid == pid)
    }
}

/// All that is open on this node.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Holdings {
    objects: FxHashMap<Object, Held>,
}

impl Holdings {
    /// Takes the state of one object; what is not open is forgotten. Returns whether it is news.
    pub fn set(&mut self, object: Object, held: Held) -> bool {
        if !held.is_open() {
            return self.objects.remove(&object).is_some();
        }
        let news = self.objects.get(&object) != Some(&held);
        if news {
            self.objects.insert(object, held);
        }
        news
    }

    /// Takes the state of everything; returns the objects that are news.
    pub fn replace(&mut self, all: impl IntoIterator<Item = (Object, Held)>) -> Vec<Object> {
        let mut next: FxHashMap<Object, Held> = all.into_iter().filter(|(_, held)| held.is_open()).collect();
        std::mem::swap(&mut self.objects, &mut next);
        let before = next;
        let closed = before.keys().filter(|object| !self.objects.contains_key(object));
        let changed = self.objects.iter().filter(|(object, held)| before.get(object) != Some(held));
        closed.chain(changed.map(|(object, _)| object)).copied().collect()
    }

    /// The state of one object; `None` when it is not open.
    #[must_use]
    pub fn get(&self, object: Object) -> Option<&Held> {
        self.objects.get(&object)
    }

    /// Whether nothing is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// All that is open.
    pub fn iter(&self) -> impl Iterator<Item = (Object, &Held)> {
        self.objects.iter().map(|(&object, held)| (object, held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(pid: u32) -> Vec<Opening> {
        let process = Arc::new(Process { pid, started: None, command: "qemu-kvm".into(), place: None });
        vec![Opening { process, descriptors: 1 }]
    }

    fn device(text: &str) -> Object {
        Object::Device(text.parse().unwrap())
    }

    #[test]
    fn the_kernels_count_decides_whether_something_is_open() {
        assert!(Held { count: Some(1), by: Vec::new() }.is_open(), "nobody shows it, and it is open");
        assert!(!Held { count: Some(0), by: by(7) }.is_open(), "somebody was seen, and it is closed by now");
        assert!(Held { count: None, by: by(7) }.is_open());
        assert!(!Held::default().is_open());
    }

    #[test]
    fn what_is_closed_is_forgotten_and_told_once() {
        let (gpu, group) = (device("0000:3b:00.0"), Object::Group(12));
        let mut holdings = Holdings::default();
        assert!(holdings.set(gpu, Held { count: Some(1), by: by(7) }));
        assert!(!holdings.set(gpu, Held { count: Some(1), by: by(7) }));
        assert!(holdings.set(gpu, Held { count: Some(1), by: by(8) }), "another process has it now");
        assert!(!holdings.set(group, Held::default()), "it never was open");
        assert!(holdings.set(gpu, Held { count: Some(0), by: Vec::new() }));
        assert!(!holdings.set(gpu, Held { count: Some(0), by: Vec::new() }));
        assert_eq!(holdings, Holdings::default());
    }

    #[test]
    fn a_look_at_everything_tells_what_is_different() {
        let (gpu, audio, group) = (device("0000:3b:00.0"), device("0000:3b:00.1"), Object::Group(12));
        let open = || Held { count: Some(1), by: by(7) };
        let mut holdings = Holdings::default();
        holdings.replace([(gpu, open()), (group, open())]);
        assert_eq!(holdings.replace([(gpu, open()), (group, open())]), []);
        let mut news = holdings.replace([(gpu, open()), (audio, open())]);
        news.sort();
        assert_eq!(news, [audio, group]);
        assert_eq!(holdings.get(group), None);
    }
}
