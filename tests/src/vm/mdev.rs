//! Mediated devices as an administrator handles them (`Documentation/driver-api/vfio-mediated-device.rst`).

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The type of `mtty` with one serial port.
const TYPE: &str = "/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1";
/// The same where the parent is not a virtual device of that name.
const OLDER_TYPE: &str = "/sys/class/mdev_bus/mtty/mtty/mdev_supported_types/mtty-1";

/// A mediated device of the type "Single port serial".
pub struct Mdev {
    uuid: String,
}

impl Mdev {
    /// Has `mtty` make one.
    pub fn create(uuid: &str) -> Result<Self> {
        let kind = if Path::new(TYPE).is_dir() { TYPE } else { OLDER_TYPE };
        fs::write(format!("{kind}/create"), uuid).with_context(|| format!("mtty does not create {uuid}"))?;
        Ok(Self::named(uuid))
    }

    /// The one that was created under this name.
    pub fn named(uuid: &str) -> Self {
        Self { uuid: uuid.to_owned() }
    }

    /// Its name.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    fn path(&self) -> PathBuf {
        Path::new("/sys/bus/mdev/devices").join(&self.uuid)
    }

    /// What its driver calls its type.
    pub fn type_name(&self) -> Result<String> {
        let name = fs::read_to_string(self.path().join("mdev_type/name")).context("an mdev without a type name")?;
        Ok(name.trim().to_owned())
    }

    /// The device file of its group.
    pub fn node(&self) -> Result<PathBuf> {
        let link = fs::read_link(self.path().join("iommu_group")).context("an mdev without an IOMMU group")?;
        Ok(Path::new("/dev/vfio").join(link.file_name().context("a group without a name")?))
    }

    /// Removes it. Blocks while it is open.
    pub fn remove(&self) -> Result<()> {
        fs::write(self.path().join("remove"), "1").with_context(|| format!("mdev {} is not removed", self.uuid))
    }
}
