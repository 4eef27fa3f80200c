//! What the probe tells.

use super::{Object, ObjectKind, Process};
use vfiod_abi::{Event as Raw, Kind, Plain, Text, UNKNOWN, severity};
use vfiod_core::device::GroupId;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A process opened a group.
    GroupOpened,
    /// The last reference to a group's file is gone.
    GroupClosed,
    /// A process opened a device, through its group or its own node, or bound it to an IOMMU file.
    DeviceOpened,
    /// The last reference to one of a device's files is gone.
    DeviceClosed,
    /// The driver wants the device back (unbind, unplug) and waits for the holder. Told again every ten seconds.
    Removing,
    /// A PCI error was reported for the device, VFIO or not ([`Object::key`] is 0).
    Aer(Severity),
    /// The VFIO driver of the device is told that an error is being recovered: its own, or one above it in the tree.
    Recovery(Severity),
}

/// How bad a PCI error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Corrected by the hardware.
    Correctable,
    /// Not corrected; the link still works.
    NonFatal,
    /// Not corrected; the link is lost.
    Fatal,
}

/// One event. It is a bell: who, what and when. [`Self::open_count`] is the truth, read again after the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, in nanoseconds of this process' `CLOCK_BOOTTIME`.
    pub at_boot_ns: u64,
    /// What happened.
    pub kind: EventKind,
    /// To what.
    pub object: Object,
    /// By whom. The last reference goes with whichever process had it: a close may be told with another process than
    /// the open, after a `fork`, a passed descriptor, or for a file that the kernel itself let go (a kernel thread).
    pub process: Process,
    /// How often the kernel counts the object as open, read when the batch was put together, so never older than the
    /// event: 1 or 0 for a group, 0 for an object that is gone. `None` where there is nothing to count ([`EventKind::Aer`],
    /// [`EventKind::Recovery`]).
    pub open_count: Option<u32>,
}

impl Event {
    /// The event that lies in the ring buffer; `shift_ns` is what this process' time namespace adds to the clock. `None`
    /// for what is no event of an object, or of a kind that this program does not know.
    #[must_use]
    pub fn from_ring(bytes: &[u8], shift_ns: i64) -> Option<Self> {
        match understand(&Raw::read(bytes)?, shift_ns)? {
            Told::Event(event) | Told::Closing { event, .. } | Told::Closed { event, .. } => Some(event),
            Told::ModuleLoaded | Told::ModuleFreed(_) | Told::Seen(_) => None,
        }
    }
}

/// What happened since the last batch, in the kernel's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The events.
    pub events: Vec<Event>,
    /// Something was opened or closed without an event (no room, a missed return): take a census.
    pub overrun: bool,
    /// VFIO's modules came or went, and the probe has attached what it can: take a census, for what happened meanwhile
    /// made no event.
    pub modules_changed: bool,
}

impl Batch {
    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty() && !self.overrun && !self.modules_changed
    }
}

/// An event of the ring buffer, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// For the batch.
    Event(Event),
    /// A release has begun; `call` names it, as its end will. `count` is the count before it.
    Closing { event: Event, call: Call, count: Option<u32> },
    /// A release has ended.
    Closed { event: Event, call: Call },
    /// A module of VFIO came.
    ModuleLoaded,
    /// A module of VFIO of this name is gone.
    ModuleFreed(String),
    /// The answer to a look at a device's file in sysfs.
    Seen(Object),
}

/// Names one release while it lasts: the object, and the thread that does it.
pub(super) type Call = (u64, u32);

/// Understands an event; `shift_ns` is what this process' time namespace adds to the clock. `None` for a kind that this
/// program does not know.
pub(super) fn understand(raw: &Raw, shift_ns: i64) -> Option<Told> {
    let kind = match Kind::of(raw.kind)? {
        Kind::GroupOpened => EventKind::GroupOpened,
        Kind::GroupClosing | Kind::GroupClosed => EventKind::GroupClosed,
        Kind::DeviceOpened => EventKind::DeviceOpened,
        Kind::DeviceClosing | Kind::DeviceClosed => EventKind::DeviceClosed,
        Kind::Removing => EventKind::Removing,
        Kind::Aer => EventKind::Aer(severity_of(raw.detail)),
        Kind::Recovery => EventKind::Recovery(severity_of(raw.detail)),
        Kind::ModuleLoaded => return Some(Told::ModuleLoaded),
        Kind::ModuleFreed => return Some(Told::ModuleFreed(lossy(&raw.name))),
        Kind::DeviceSeen => return Some(Told::Seen(object(true, raw.object, &raw.name, &raw.group))),
    };
    let is_device = !matches!(kind, EventKind::GroupOpened | EventKind::GroupClosed);
    let count = (raw.count != UNKNOWN).then_some(raw.count);
    let event = Event {
        at_boot_ns: shifted(raw.at_boot_ns, shift_ns),
        kind,
        object: object(is_device, raw.object, &raw.name, &raw.group),
        process: process(raw.tgid, raw.start_ns, &raw.command, raw.cgroup_id, shift_ns),
        open_count: count,
    };
    let call = (raw.object, raw.detail);
    Some(match Kind::of(raw.kind)? {
        Kind::GroupClosing | Kind::DeviceClosing => Told::Closing { event, call, count },
        Kind::GroupClosed | Kind::DeviceClosed => Told::Closed { event, call },
        _ => Told::Event(event),
    })
}

/// The object that the kernel's names mean.
pub(super) fn object(is_device: bool, key: u64, name: &[u8], group: &[u8]) -> Object {
    let kind = if is_device { ObjectKind::Device } else { ObjectKind::Group };
    let device = if is_device { text(name).and_then(|name| name.parse().ok()) } else { None };
    Object { kind, device, group: text(group).and_then(group_number), key }
}

/// A group's number, from the name of its device (kernel: `drivers/vfio/group.c`, `vfio_group_alloc`).
fn group_number(name: &str) -> Option<GroupId> {
    name.strip_prefix("noiommu-").unwrap_or(name).parse().ok()
}

/// The process that the kernel's fields mean.
pub(super) fn process(pid: u32, start_ns: u64, command: &[u8], cgroup_id: u64, shift_ns: i64) -> Process {
    let start_ns = (start_ns != 0).then(|| shifted(start_ns, shift_ns));
    Process { pid, start_ns, command: lossy(command), cgroup_id }
}

const fn severity_of(number: u32) -> Severity {
    match number {
        severity::NONFATAL => Severity::NonFatal,
        severity::CORRECTABLE => Severity::Correctable,
        // Fatal, contained by the port above it, or newer than this program: nothing to make light of.
        _ => Severity::Fatal,
    }
}

const fn shifted(at_ns: u64, shift_ns: i64) -> u64 {
    at_ns.saturating_add_signed(shift_ns)
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(Text::of(field)).ok()
}

fn lossy(field: &[u8]) -> String {
    String::from_utf8_lossy(Text::of(field)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(kind: Kind) -> Raw {
        let mut raw = Raw { kind: kind as u32, object: 0xffff_8880_0000_1000, detail: 41, tgid: 40, ..Raw::EMPTY };
        raw.name[..12].copy_from_slice(b"0000:3b:00.0");
        raw.group[..10].copy_from_slice(b"noiommu-12");
        raw.command[..4].copy_from_slice(b"qemu");
        raw
    }

    #[test]
    fn an_open_names_device_group_and_process() {
        let mut raw = raw(Kind::DeviceOpened);
        (raw.at_boot_ns, raw.start_ns, raw.count) = (5_000, 2_000, 1);
        let Some(Told::Event(event)) = understand(&raw, 100) else { panic!("{raw:?}") };
        assert_eq!(event.kind, EventKind::DeviceOpened);
        assert_eq!(event.object.device, Some("0000:3b:00.0".parse().unwrap()));
        assert_eq!((event.object.group, event.open_count), (Some(12), Some(1)));
        assert_eq!((event.process.command.as_str(), event.process.pid), ("qemu", 40));
        assert_eq!(
            (event.at_boot_ns, event.process.start_ns),
            (5_100, Some(2_100)),
            "as this namespace's clock shows it"
        );
    }

    #[test]
    fn begin_and_end_of_a_release_have_one_name() {
        let Some(Told::Closing { call: begun, count, .. }) = understand(&raw(Kind::DeviceClosing), 0) else { panic!() };
        let Some(Told::Closed { call: ended, .. }) = understand(&raw(Kind::DeviceClosed), 0) else { panic!() };
        assert_eq!((begun, count), (ended, None), "a count that could not be read is not a number");
    }

    #[test]
    fn a_group_is_not_mistaken_for_a_device() {
        let mut raw = raw(Kind::GroupOpened);
        raw.name = [0; vfiod_abi::NAME];
        let Some(Told::Event(event)) = understand(&raw, 0) else { panic!() };
        assert!(event.object.is_group());
        assert_eq!(event.object.group, Some(12));
    }

    #[test]
    fn a_severity_that_is_new_is_fatal() {
        for (number, severity) in
            [(0, Severity::NonFatal), (1, Severity::Fatal), (2, Severity::Correctable), (9, Severity::Fatal)]
        {
            let raw = Raw { detail: number, ..raw(Kind::Aer) };
            let Some(Told::Event(event)) = understand(&raw, 0) else { panic!() };
            assert_eq!(event.kind, EventKind::Aer(severity));
        }
    }

    #[test]
    fn an_unknown_kind_and_names_that_are_no_text_are_survived() {
        assert_eq!(understand(&Raw { kind: 99, ..Raw::EMPTY }, 0), None);
        let raw = Raw { name: [0xff; vfiod_abi::NAME], ..raw(Kind::Removing) };
        let Some(Told::Event(event)) = understand(&raw, 0) else { panic!() };
        assert_eq!(event.object.device, None);
    }
}
