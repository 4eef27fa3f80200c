//! What a host device is: its identity, and the facts that sysfs gives about it.

mod bdf;
mod cdev;
mod driver;
mod facts;
mod group;
mod id;
mod nodes;
mod pci_id;

pub use bdf::{Bdf, ParseBdfError};
pub use cdev::{CdevName, CdevNames};
pub use driver::is_vfio_driver;
pub use facts::{Binding, Device, Kind, Mdev};
pub use group::{Group, GroupId, Member, MemberName, Members, Obstacle};
pub use id::{DeviceId, ParseDeviceIdError, former_id};
pub use nodes::{DevNodes, Node};
pub use pci_id::{ParsePciIdError, PciId};
