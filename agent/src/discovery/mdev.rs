//! Mediated devices: `/sys/bus/mdev/devices`.

use super::{
    entry::{Entry, List},
    fault::{Cause, Consequence, Fault},
    folder::last_component,
    reader::Reader,
};
use rustix::io::Errno;
use std::sync::Arc;
use uuid::Uuid;
use vfiod_core::device::{Binding, Device, Kind, Mdev};

/// Where the host lists its mediated devices; missing while no mdev driver is loaded.
pub(super) const LIST: &str = "/sys/bus/mdev/devices";

/// Reads one mdev; `None` where it is gone. Faults that leave it usable are added to `faults`.
pub(super) fn read(
    list: &List,
    uuid: Uuid,
    reader: &mut Reader<'_>,
    faults: &mut Vec<Fault>,
) -> Result<Option<Device>, Fault> {
    let Some(entry) = list.entry(uuid.into())? else { return Ok(None) };
    let Some((type_name, type_id)) = mdev_type(list, &entry, reader)? else { return Ok(None) };
    let driver = entry.driver(reader)?;
    let group = entry.group(&mut reader.scratch)?;
    if (driver.is_none() || group.is_none()) && !entry.folder.has("mdev_type").unwrap_or(true) {
        return Ok(None); // it vanished meanwhile: what is missing says nothing
    }
    let cdevs = entry.cdevs(driver.as_deref(), reader, faults);
    let binding = match (driver, group) {
        (Some(name), _) => Binding::Vfio(name),
        // VFIO makes the group when a driver takes the mdev (kernel: `drivers/vfio/group.c`, `vfio_noiommu_group_alloc`).
        (None, Some(_)) => Binding::Vfio(reader.names.of(b"")),
        (None, None) => Binding::Unbound,
    };
    let parent = parent(list, &entry, reader)?;
    // An mdev is where its parent is; `..` goes up from the folder that the list's link leads to.
    let numa = entry.numa("../numa_node", &mut reader.scratch, faults);
    let kind = Kind::Mdev(Box::new(Mdev { type_name, type_id, parent }));
    Ok(Some(Device { id: entry.id, kind, binding, group, numa, cdevs }))
}

/// The name of a type, and the name of its folder.
type Type = (Arc<str>, Arc<str>);

/// The type's name and the name of its folder (kernel: `drivers/vfio/mdev/mdev_sysfs.c`). Not every driver gives its
/// types a name: then the folder's name stands for it, as it does for KubeVirt
/// (`pkg/virt-handler/device-manager/mediated_device.go`).
fn mdev_type(list: &List, entry: &Entry, reader: &mut Reader<'_>) -> Result<Option<Type>, Fault> {
    let left_out = |attribute: &str, cause: Cause| entry.fault(attribute, cause, Consequence::DeviceLeftOut);
    let Reader { scratch, names, .. } = reader;
    let type_id = match entry.folder.link("mdev_type", scratch) {
        Ok(link) => link.map(|name| names.of(name)),
        Err(Errno::INVAL) => None, // a folder, not a link
        Err(errno) => return Err(left_out("mdev_type", errno.into())),
    };
    let type_name = match entry.folder.text("mdev_type/name", scratch) {
        Ok(name) if name.trim_ascii().is_empty() => None,
        Ok(name) => Some(names.of(name.trim_ascii())),
        Err(Errno::NOENT | Errno::NODEV) => None,
        Err(errno) => return Err(left_out("mdev_type/name", errno.into())),
    };
    match (type_name, type_id) {
        (Some(name), Some(id)) => Ok(Some((name, id))),
        (Some(both), None) | (None, Some(both)) => Ok(Some((Arc::clone(&both), both))),
        (None, None) if !list.still_has(entry.id) => Ok(None),
        (None, None) => Err(left_out("mdev_type", Cause::Missing("the mdev's type"))),
    }
}

/// The parent is the folder that the mdev's own folder is in. Empty where the list holds the folder itself.
fn parent(list: &List, entry: &Entry, reader: &mut Reader<'_>) -> Result<Arc<str>, Fault> {
    let Reader { scratch, names, .. } = reader;
    match list.folder.target(&*entry.id.to_string(), scratch) {
        Ok(Some(target)) => {
            let (parents, _) = last_component(target);
            Ok(names.of(last_component(parents).1))
        }
        Ok(None) | Err(Errno::INVAL) => Ok(names.of(b"")),
        Err(errno) => Err(Fault::new(format!("{LIST}/{}", entry.id), errno, Consequence::DeviceLeftOut).of(entry.id)),
    }
}
