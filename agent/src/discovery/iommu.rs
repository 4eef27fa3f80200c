//! IOMMU groups and all their members: `/sys/kernel/iommu_groups`.

use super::{
    entry::List,
    fault::{Cause, Consequence, Fault},
    folder::Folder,
    host_root::HostRoot,
    mdev, pci,
    reader::{Known, Reader},
    scan::scan,
    target::read_from,
};
use rustix::io::Errno;
use smallvec::SmallVec;
use std::sync::Arc;
use vfiod_core::device::{DeviceId, Group, GroupId, Member, MemberName, Members, is_vfio_driver};

/// Where the host lists its IOMMU groups; missing on a host without an IOMMU.
pub(super) const LIST: &str = "/sys/kernel/iommu_groups";

/// Stands for the driver of a member where it cannot be read. It is no VFIO driver, so its group is not viable:
/// to hand out a device whose neighbour is unknown would be a guess.
pub const UNREADABLE: &str = "a driver that cannot be read";

/// Reads one group with the present state of each member; `None` where the host has no such group.
///
/// Costs one read of each member. Where only one member of a large group has changed, `Member::from` that device
/// is cheaper.
///
/// # Errors
/// The group's list of members cannot be read: what was known before is still the best that is known.
pub fn read_group(root: &HostRoot, id: GroupId) -> Result<Option<Group>, Fault> {
    let groups = match Folder::open(root.at(LIST)) {
        Ok(folder) => folder,
        // Only the devices' own links can tell.
        Err(Errno::NOENT) => return Ok(scan(root).groups.into_iter().find(|group| group.id == id)),
        Err(errno) => return Err(Fault::new(LIST, errno, Consequence::MembersFromLinks)),
    };
    let (mut reader, mut faults) = (Reader::new(Known::default()), Vec::new());
    let pci = List::open(root, pci::LIST).ok().flatten();
    let mdev = List::open(root, mdev::LIST).ok().flatten();
    let mut read_known = |id: DeviceId, reader: &mut Reader<'_>| {
        let list = if id.is_mdev() { mdev.as_ref() } else { pci.as_ref() }?;
        read_from(list, id, reader, &mut Vec::new()).ok().flatten().map(|device| Member::from(&device))
    };
    read(&groups, id, &mut read_known, &mut reader, &mut faults)
}

/// Reads one group. `known` gives the members that the lists of their buses have; the others are read through the
/// group's own links.
pub(super) fn read(
    groups: &Folder,
    id: GroupId,
    known: &mut impl FnMut(DeviceId, &mut Reader<'_>) -> Option<Member>,
    reader: &mut Reader<'_>,
    faults: &mut Vec<Fault>,
) -> Result<Option<Group>, Fault> {
    let mut names: SmallVec<[MemberName; 4]> = SmallVec::new();
    let devices = format!("{id}/devices");
    match groups.names(&*devices, |name| names.push(MemberName::from(&*String::from_utf8_lossy(name)))) {
        Ok(()) => {}
        // The last member takes the list with it before the group goes (kernel: `drivers/iommu/iommu.c`, `iommu_group_release`).
        Err(Errno::NOENT | Errno::NODEV) => return Ok(None),
        Err(errno) => return Err(Fault::new(format!("{LIST}/{devices}"), errno, Consequence::MembersFromLinks)),
    }
    names.sort_unstable();
    let members: Members = names
        .into_iter()
        .filter_map(|name| {
            let member = name.device().and_then(|id| known(id, reader));
            member.or_else(|| read_member(groups, &format!("{devices}/{name}"), name, reader, faults))
        })
        .collect();
    let is_mdev = |member: &Member| member.name.device().is_some_and(DeviceId::is_mdev);
    if reader.known.nodes.is_some_and(|nodes| nodes.groups.contains(&id)) && !members.iter().any(is_mdev) {
        // But for mdevs, a group that was given a name has another node (kernel: `drivers/vfio/group.c`, `vfio_create_group`).
        return Ok(Some(Group { id, noiommu: false, members }));
    }
    // The file exists only in groups that were given a name (kernel: `drivers/iommu/iommu.c`, `iommu_group_set_name`).
    let noiommu = match groups.text(&*format!("{id}/name"), &mut reader.scratch) {
        Ok(text) => text.trim_ascii() == b"vfio-noiommu",
        Err(Errno::NOENT | Errno::NODEV) => false,
        Err(errno) => {
            faults.push(Fault::new(format!("{LIST}/{id}/name"), errno, Consequence::AssumeIommu));
            false
        }
    };
    Ok(Some(Group { id, noiommu, members }))
}

/// Reads a member through the group's link: one of another bus, or one that its own bus could not show in full.
fn read_member(
    groups: &Folder,
    link: &str,
    name: MemberName,
    reader: &mut Reader<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Member> {
    let mut fault = |cause: Cause, consequence| faults.push(Fault::new(format!("{LIST}/{link}"), cause, consequence));
    let mut member = Member { name, driver: None, vfio: false, bridge: false };
    let driver = match groups.folder(link) {
        Ok(folder) => {
            let Reader { scratch, names, .. } = reader;
            member.vfio = has_entries(&folder, "vfio-dev");
            member.bridge = folder.text("class", scratch).is_ok_and(|class| class.starts_with(b"0x0604"));
            folder.link("driver", scratch).map(|name| name.map(|name| names.of(name)))
        }
        Err(Errno::NOENT | Errno::NODEV) => {
            if !groups.has(link).unwrap_or(true) {
                return None; // it left the group meanwhile
            }
            fault(Cause::BrokenLink, Consequence::WithoutDriver);
            Ok(None)
        }
        Err(errno) => Err(errno),
    };
    member.driver = driver.unwrap_or_else(|errno| {
        fault(errno.into(), Consequence::GroupNotViable);
        Some(Arc::from(UNREADABLE))
    });
    member.vfio |= member.driver.as_deref().is_some_and(is_vfio_driver);
    Some(member)
}

fn has_entries(folder: &Folder, name: &str) -> bool {
    let mut any = false;
    folder.names(name, |_| any = true).is_ok() && any
}
