//! Which function is bound to which driver: the links in the folders of `/sys/bus/pci/drivers`.

use super::{folder::Folder, host_root::HostRoot};
use rustc_hash::FxHashMap;
use rustix::io::Errno;
use std::sync::Arc;
use vfiod_core::device::{Bdf, DeviceId};

const LIST: &str = "/sys/bus/pci/drivers";

/// The links of all drivers. A few lists say of thousands of functions what each function's own link says of it.
#[derive(Debug, Default)]
pub(super) struct Bound {
    drivers: Vec<Arc<str>>,
    links: FxHashMap<Bdf, Bond>,
}

/// One function's link in its driver's folder.
#[derive(Debug, Clone, Copy)]
struct Bond {
    driver: usize,
    /// `None` where two drivers were seen to have it: it was bound anew meanwhile.
    inode: Option<u64>,
}

impl Bound {
    /// Reads the folders of all drivers; `None` where that cannot be done to the end.
    pub(super) fn read(root: &HostRoot) -> Option<Self> {
        let folder = Folder::open(root.at(LIST)).ok()?;
        let mut bound = Self::default();
        let mut names: Vec<String> = Vec::new();
        folder.names(".", |name| names.extend(std::str::from_utf8(name).ok().map(str::to_owned))).ok()?;
        for name in names {
            let driver = bound.drivers.len();
            let read = folder.entries(&*name, |name, inode| {
                if let Some(DeviceId::Pci(bdf)) = DeviceId::from_name(name) {
                    let bond = bound.links.entry(bdf).or_insert(Bond { driver, inode: Some(inode) });
                    if bond.driver != driver {
                        bond.inode = None;
                    }
                }
            });
            match read {
                Ok(()) => bound.drivers.push(name.into()),
                Err(Errno::NOENT | Errno::NODEV) => bound.drivers.push("".into()), // unloaded meanwhile
                Err(_) => return None,
            }
        }
        Some(bound)
    }

    /// The driver of a function and the inode of the link that says so; `None` where it was bound anew while this was read.
    pub(super) fn of(&self, bdf: Bdf) -> Option<Option<(&Arc<str>, u64)>> {
        let Some(bond) = self.links.get(&bdf) else { return Some(None) };
        Some(Some((self.drivers.get(bond.driver)?, bond.inode?)))
    }
}
