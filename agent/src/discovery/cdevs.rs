//! Which device has which character device: `/sys/class/vfio-dev`.

use super::{
    folder::{Folder, Scratch, last_component},
    host_root::HostRoot,
    scan::on_two_threads,
};
use rustix::io::Errno;
use vfiod_core::device::{CdevName, CdevNames, DeviceId};

/// Where the kernel lists all that is registered with VFIO (`drivers/vfio/vfio_main.c`, class `vfio-dev`, from 6.1 on).
const LIST: &str = "/sys/class/vfio-dev";

/// The character devices of the whole host, by device: one link each, where asking each device's folder takes four calls.
pub(super) struct Cdevs(Vec<(DeviceId, CdevName)>);

impl Cdevs {
    /// Reads the class; `None` where that cannot be done to the end, or a link of it is not understood.
    pub(super) fn read(root: &HostRoot) -> Option<Self> {
        let class = Folder::open(root.at(LIST)).ok()?;
        let mut names: Vec<CdevName> = Vec::new();
        class.names(".", |name| names.push(CdevName::from(&*String::from_utf8_lossy(name)))).ok()?;
        let parts = on_two_threads(&names, |names| {
            let (mut found, mut scratch) = (Vec::new(), Scratch::new());
            for name in names {
                match class.target(&*name.to_string(), &mut scratch) {
                    Ok(Some(target)) => found.extend(owner(target)?.map(|owner| (owner, name.clone()))),
                    Ok(None) | Err(Errno::NODEV) => {} // it is gone meanwhile
                    Err(_) => return None,
                }
            }
            Some(found)
        });
        let [Some(mut all), Some(rest)] = parts else { return None };
        all.extend(rest);
        all.sort_unstable();
        Some(Self(all))
    }

    /// Those of one device, sorted.
    pub(super) fn of(&self, id: DeviceId) -> CdevNames {
        let from = self.0.partition_point(|(owner, _)| *owner < id);
        self.0.iter().skip(from).take_while(|(owner, _)| *owner == id).map(|(_, name)| name.clone()).collect()
    }
}

/// The device in the target of a link, `…/<device>/vfio-dev/<name>`; `None` where the target is another one, and in it
/// `None` where the device is of another bus.
fn owner(target: &[u8]) -> Option<Option<DeviceId>> {
    let (folder, b"vfio-dev") = last_component(last_component(target).0) else { return None };
    Some(DeviceId::from_name(last_component(folder).1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_its_device() {
        let gpu = "0000:3b:00.0".parse().unwrap();
        let link = b"../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/vfio-dev/vfio7";
        assert_eq!(owner(link), Some(Some(gpu)));
        assert_eq!(owner(b"../../devices/platform/serial8250/vfio-dev/vfio8"), Some(None));
        assert_eq!(owner(b"../../devices/virtual/vfio-dev/vfio7"), Some(None));
        assert_eq!(owner(b"vfio7"), None);
    }
}
