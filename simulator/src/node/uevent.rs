//! The events that the kernel sends to user space.

use std::fmt;

/// One kernel event: what `lib/kobject_uevent.c` (`kobject_uevent_env`) would broadcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uevent {
    /// What happened.
    pub action: Action,
    /// Where: the path below `/sys`, with a leading slash.
    pub devpath: String,
    /// The bus or class: `pci`, `mdev`, `vfio`, `vfio-dev`, `drivers`.
    pub subsystem: String,
    /// The properties that the bus adds, in its order: `DRIVER`, `PCI_ID`, `DEVNAME` and the like.
    pub properties: Vec<(&'static str, String)>,
    /// The node's own count of its events, from 1. When the event is injected, the kernel numbers it anew.
    pub seqnum: u64,
}

/// What happened to the object (kernel: `lib/kobject_uevent.c`, `kobject_actions`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the word that the kernel writes")]
pub enum Action {
    Add,
    Remove,
    Change,
    Bind,
    Unbind,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Change => "change",
            Self::Bind => "bind",
            Self::Unbind => "unbind",
        })
    }
}

/// The form of the first line: `unbind@/devices/pci0000:3b/0000:3b:00.0`.
impl fmt::Display for Uevent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.action, self.devpath)
    }
}

impl Uevent {
    /// The value of a property, if the event carries it.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// The whole message as a listener receives it: zero-terminated strings, the header first and `SEQNUM` last.
    #[must_use]
    pub fn datagram(&self) -> Vec<u8> {
        let mut message = self.unnumbered();
        message.extend_from_slice(format!("SEQNUM={}\0", self.seqnum).as_bytes());
        message
    }

    /// The message without `SEQNUM`, which the kernel adds to injected ones (`uevent_net_broadcast`).
    pub(super) fn unnumbered(&self) -> Vec<u8> {
        let mut message =
            format!("{self}\0ACTION={}\0DEVPATH={}\0SUBSYSTEM={}\0", self.action, self.devpath, self.subsystem);
        for (key, value) in &self.properties {
            message.push_str(key);
            message.push('=');
            message.push_str(value);
            message.push('\0');
        }
        message.into_bytes()
    }
}
