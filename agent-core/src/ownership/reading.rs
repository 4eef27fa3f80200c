//! One look at the sources of ownership, as plain values.

use super::Moment;
use crate::device::{DeviceId, GroupId};
use std::{fmt, sync::Arc, time::Duration};

/// A pod, as far as a source names it.
///
/// The checkpoint knows UIDs and no names, PodResources names and no UIDs; the folders below `/var/log/pods` join them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pod {
    /// The pod's UID.
    pub uid: Option<Arc<str>>,
    /// Its namespace and name.
    pub name: Option<(Arc<str>, Arc<str>)>,
}

/// The owner of a device: a container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The pod.
    pub pod: Pod,
    /// The name of the container in it.
    pub container: Arc<str>,
}

/// One device that a source says is given to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// The resource it was given as.
    pub resource: Arc<str>,
    /// The device.
    pub device: DeviceId,
    /// The id by which it is named, where that is another plugin's ([`takeover`](super::takeover)).
    pub former: Option<GroupId>,
    /// Who has it.
    pub owner: Owner,
    /// Its place in the order of answers, as the answer says that the kubelet keeps; 0 where the source keeps none.
    pub order: u64,
}

/// What a source said, or why it said nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source<T> {
    /// Read without an error.
    Read(T),
    /// Not read. The last state holds.
    Unavailable(String),
}

/// One look at all sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// When it began.
    pub begun: Moment,
    /// `device-plugins/kubelet_internal_checkpoint`: UIDs; readable while the kubelet is down; keeps a finished pod's
    /// devices until the next admission (kubelet: `pkg/kubelet/cm/devicemanager/manager.go`, `UpdateAllocatedDevices`).
    pub checkpoint: Source<Vec<Allocation>>,
    /// PodResources `List`: names; lists nothing until a starting kubelet knows its pods
    /// (kubelet: `pkg/kubelet/apis/podresources/server_v1.go`, `List`).
    pub pod_resources: Source<Vec<Allocation>>,
    /// How long the kubelet has been up; `None` while it is down.
    pub kubelet_up: Option<Duration>,
}

impl Pod {
    /// Whether both are the same pod; `None` when the sources do not tell.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> Option<bool> {
        if let (Some(mine), Some(theirs)) = (&self.uid, &other.uid) {
            return Some(mine == theirs);
        }
        if let (Some(mine), Some(theirs)) = (&self.name, &other.name) {
            return Some(mine == theirs);
        }
        None
    }
}

impl<T> Source<T> {
    /// What was read.
    pub const fn read(&self) -> Option<&T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Unavailable(_) => None,
        }
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.uid) {
            (Some((namespace, name)), _) => write!(f, "pod {namespace}/{name}"),
            (None, Some(uid)) => write!(f, "pod {uid}"),
            (None, None) => f.write_str("an unnamed pod"),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, container {}", self.pod, self.container)
    }
}
