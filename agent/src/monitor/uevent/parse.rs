//! One uevent, out of the kernel's datagram.
//!
//! The kernel writes `action@devpath`, then `KEY=value` fields, all ended by NUL bytes (kernel: `lib/kobject_uevent.c`,
//! `kobject_uevent_env`). Values come from drivers and may hold any byte, so only the fields that matter are read as text.

use std::fmt;
use vfiod_core::device::{DeviceId, GroupId};

/// What happened to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It appeared.
    Add,
    /// It is gone.
    Remove,
    /// A driver was bound to it.
    Bind,
    /// Its driver was unbound.
    Unbind,
    /// Something about it changed.
    Change,
    /// It moved in the tree of devices.
    Move,
    /// Anything else: online, offline, and what later kernels add.
    Other,
}

/// The subsystems whose events say something about VFIO devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subsystem {
    /// PCI functions.
    Pci,
    /// Mediated devices.
    Mdev,
    /// VFIO groups, `/dev/vfio/N`.
    Vfio,
    /// VFIO devices as VFIO registers them, `/dev/vfio/devices/vfioN` where the kernel offers them.
    VfioDev,
}

/// One event that says something about VFIO devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uevent {
    /// What happened.
    pub action: Action,
    /// The object's path below `/sys`, beginning with a slash.
    pub devpath: String,
    /// The object's subsystem.
    pub subsystem: Subsystem,
    /// The devices that it touches: the innermost one of the path, and the PCI function it names.
    pub devices: Vec<DeviceId>,
    /// The IOMMU group that it touches, for the device node of a group.
    pub group: Option<GroupId>,
}

/// Why a datagram is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a uevent without {missing}")]
pub struct Malformed {
    missing: &'static str,
}

impl Action {
    fn parse(word: &[u8]) -> Self {
        match word {
            b"add" => Self::Add,
            b"remove" => Self::Remove,
            b"bind" => Self::Bind,
            b"unbind" => Self::Unbind,
            b"change" => Self::Change,
            b"move" => Self::Move,
            _ => Self::Other,
        }
    }
}

impl Subsystem {
    fn parse(word: &[u8]) -> Option<Self> {
        match word {
            b"pci" => Some(Self::Pci),
            b"mdev" => Some(Self::Mdev),
            b"vfio" => Some(Self::Vfio),
            b"vfio-dev" => Some(Self::VfioDev),
            _ => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Bind => "bind",
            Self::Unbind => "unbind",
            Self::Change => "change",
            Self::Move => "move",
            Self::Other => "other",
        })
    }
}

impl fmt::Display for Uevent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.action, self.devpath)
    }
}

/// Reads one datagram; `None` when it is about something else than VFIO devices.
///
/// # Errors
/// When a field that every event has is missing, or its path is not text.
pub fn parse(datagram: &[u8]) -> Result<Option<Uevent>, Malformed> {
    let (mut action, mut devpath, mut subsystem, mut slot) = (None, None, None, None);
    for field in datagram.split(|byte| *byte == 0) {
        let Some(split) = field.iter().position(|byte| *byte == b'=') else { continue };
        let (key, value) = (field.get(..split).unwrap_or_default(), field.get(split + 1..).unwrap_or_default());
        match key {
            b"ACTION" => action = Some(value),
            b"DEVPATH" => devpath = Some(value),
            b"SUBSYSTEM" => subsystem = Some(value),
            b"PCI_SLOT_NAME" => slot = str::from_utf8(value).ok(),
            _ => {}
        }
    }
    let subsystem = subsystem.ok_or(Malformed { missing: "SUBSYSTEM" })?;
    let Some(subsystem) = Subsystem::parse(subsystem) else { return Ok(None) };
    let action = Action::parse(action.ok_or(Malformed { missing: "ACTION" })?);
    let devpath =
        devpath.and_then(|path| str::from_utf8(path).ok()).ok_or(Malformed { missing: "a readable DEVPATH" })?;

    let innermost = devpath.rsplit('/').find_map(|name| name.parse::<DeviceId>().ok());
    let named = slot.and_then(|slot| slot.parse().ok()).filter(|named| Some(*named) != innermost);
    Ok(Some(Uevent {
        action,
        subsystem,
        devices: innermost.into_iter().chain(named).collect(),
        group: group(devpath),
        devpath: devpath.to_owned(),
    }))
}

/// A group's node is named after its number (kernel: `drivers/vfio/group.c`, `vfio_group_alloc`).
fn group(devpath: &str) -> Option<GroupId> {
    let name = devpath.strip_prefix("/devices/virtual/vfio/")?;
    let number = name.strip_prefix("noiommu-").unwrap_or(name);
    if number.starts_with('+') {
        return None;
    }
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(fields: &[&str]) -> Uevent {
        parse(fields.join("\0").as_bytes()).unwrap().unwrap()
    }

    fn ids(texts: &[&str]) -> Vec<DeviceId> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_pci_function_behind_a_bridge_is_the_innermost_of_its_path() {
        let event = event(&[
            "bind@/devices/pci0000:00/0000:00:01.0/0000:01:00.1",
            "ACTION=bind",
            "DEVPATH=/devices/pci0000:00/0000:00:01.0/0000:01:00.1",
            "SUBSYSTEM=pci",
            "DRIVER=vfio-pci",
            "PCI_CLASS=30000",
            "PCI_SLOT_NAME=0000:01:00.1",
            "SEQNUM=2611",
            "",
        ]);
        assert_eq!((event.action, event.subsystem), (Action::Bind, Subsystem::Pci));
        assert_eq!(event.devices, ids(&["0000:01:00.1"]));
        assert_eq!(event.group, None);
        assert_eq!(event.to_string(), "bind@/devices/pci0000:00/0000:00:01.0/0000:01:00.1");
    }

    #[test]
    fn an_mdev_is_named_and_not_its_parent() {
        let uuid = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
        let path = format!("DEVPATH=/devices/virtual/mtty/mtty/{uuid}");
        assert_eq!(event(&["ACTION=add", &path, "SUBSYSTEM=mdev"]).devices, ids(&[uuid]));
        let path = format!("DEVPATH=/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/{uuid}");
        assert_eq!(event(&["ACTION=remove", &path, "SUBSYSTEM=mdev"]).devices, ids(&[uuid]));
    }

    #[test]
    fn the_registration_with_vfio_names_the_device_that_left() {
        let event = event(&[
            "ACTION=remove",
            "DEVPATH=/devices/pci0000:00/0000:00:05.0/vfio-dev/vfio0",
            "SUBSYSTEM=vfio-dev",
            "DEVNAME=vfio/devices/vfio0",
        ]);
        assert_eq!(event.devices, ids(&["0000:00:05.0"]));
        assert_eq!((event.action, event.subsystem), (Action::Remove, Subsystem::VfioDev));
    }

    #[test]
    fn a_group_node_names_its_group() {
        let number = |name: &str| {
            let path = format!("DEVPATH=/devices/virtual/vfio/{name}");
            event(&["ACTION=add", &path, "SUBSYSTEM=vfio"]).group
        };
        assert_eq!(number("17"), Some(17));
        assert_eq!(number("noiommu-3"), Some(3));
        for name in ["", "+1", "-1", "1/2", "99999999999", "vfio"] {
            assert_eq!(number(name), None, "{name:?}");
        }
    }

    #[test]
    fn other_subsystems_are_left_out_whatever_they_hold() {
        let mut datagram = b"add@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=input\0NAME=\"".to_vec();
        datagram.extend([0xff, 0xfe, b'"', 0]);
        assert_eq!(parse(&datagram), Ok(None));
    }

    #[test]
    fn bytes_that_are_no_text_do_not_spoil_the_other_fields() {
        let mut datagram = b"ACTION=change\0DEVPATH=/devices/pci0000:00/0000:00:05.0\0SUBSYSTEM=pci\0JUNK=".to_vec();
        datagram.extend([0xff, 0xfe, 0]);
        assert_eq!(parse(&datagram).unwrap().unwrap().devices, ids(&["0000:00:05.0"]));
    }

    #[test]
    fn actions_of_later_kernels_are_events_too() {
        let event = event(&["ACTION=levitate", "DEVPATH=/devices/pci0000:00/0000:00:05.0", "SUBSYSTEM=pci"]);
        assert_eq!(event.action, Action::Other);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |datagram: &[u8]| parse(datagram).unwrap_err().to_string();
        assert_eq!(error(b""), "a uevent without SUBSYSTEM");
        assert_eq!(error(b"libudev\0\xfe\xed\xca\xfe"), "a uevent without SUBSYSTEM");
        assert_eq!(error(b"SUBSYSTEM=pci"), "a uevent without ACTION");
        assert_eq!(error(b"SUBSYSTEM=pci\0ACTION=add\0DEVPATH=\xff"), "a uevent without a readable DEVPATH");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(datagram in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&datagram);
        }

        #[test]
        fn any_fields_in_any_order_are_survived(
            fields in proptest::collection::vec("(ACTION|DEVPATH|SUBSYSTEM|PCI_SLOT_NAME|X)?=?(pci|vfio|/devices/[a-f0-9:./-]{0,20})?", 0..8)
        ) {
            let _ = parse(fields.join("\0").as_bytes());
        }

        #[test]
        fn the_device_is_found_wherever_its_fields_stand(
            domain in 0u32..0x20000, bus in any::<u8>(), device in 0u8..32, function in 0u8..8,
            order in Just(vec![0usize, 1, 2, 3]).prop_shuffle(),
        ) {
            let bdf = vfiod_core::device::Bdf::new(domain, bus, device, function).unwrap();
            let fields = [
                "ACTION=add".to_owned(),
                format!("DEVPATH=/devices/pci0000:00/{bdf}"),
                "SUBSYSTEM=pci".to_owned(),
                format!("PCI_SLOT_NAME={bdf}"),
            ];
            let text: Vec<_> = order.iter().map(|index| fields[*index].as_str()).collect();
            prop_assert_eq!(event(&text).devices, vec![DeviceId::Pci(bdf)]);
        }
    }
}
