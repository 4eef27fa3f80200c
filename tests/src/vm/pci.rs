//! PCI devices as an administrator handles them: through sysfs (`Documentation/ABI/testing/sysfs-bus-pci`).

use super::wait;
use anyhow::{Context, Result, bail};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const BUS: &str = "/sys/bus/pci";
/// Long enough for the slowest slot: a button gives five seconds to think again.
const SLOT: Duration = Duration::from_secs(20);
/// How long a plugged device may take until drivers may have it.
const SETTLE: Duration = Duration::from_secs(10);

/// A PCI function of the guest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pci {
    bdf: String,
}

impl Pci {
    /// Every function that the kernel knows.
    pub fn all() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(format!("{BUS}/devices")).context("the guest has no PCI bus")? {
            all.push(Self { bdf: entry?.file_name().to_string_lossy().into_owned() });
        }
        all.sort();
        Ok(all)
    }

    /// Waits for an `edu` device that is not one of `known`.
    pub fn wait_for_another(known: &[Self]) -> Result<Self> {
        let another = || {
            let found = Self::all()?.into_iter().find(|device| device.is_edu() && !known.contains(device));
            found.context("no further device is in sysfs")
        };
        wait::until(SLOT, another)
    }

    /// Its address.
    pub fn bdf(&self) -> &str {
        &self.bdf
    }

    fn path(&self) -> PathBuf {
        Path::new(BUS).join("devices").join(&self.bdf)
    }

    /// Whether the kernel has it.
    fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Waits until the kernel has it.
    pub fn wait_until_there(&self) -> Result<()> {
        let there = || if self.exists() { Ok(()) } else { bail!("{self} is not in sysfs") };
        wait::until(SLOT, there)
    }

    /// Waits until the kernel no longer has it.
    pub fn wait_until_gone(&self) -> Result<()> {
        let gone = || if self.exists() { bail!("{self} is in sysfs") } else { Ok(()) };
        wait::until(SLOT, gone)
    }

    /// Whether it is one of QEMU's `edu` devices, which are here to be passed through.
    pub fn is_edu(&self) -> bool {
        self.attribute("vendor").is_ok_and(|vendor| vendor == "0x1234")
            && self.attribute("device").is_ok_and(|device| device == "0x11e8")
    }

    /// Whether it is a virtio device, of which the machine has one.
    pub fn is_virtio(&self) -> bool {
        self.attribute("vendor").is_ok_and(|vendor| vendor == "0x1af4")
    }

    /// The function above it: the port that it is in.
    pub fn parent(&self) -> Result<String> {
        let link = fs::canonicalize(self.path()).with_context(|| format!("{self} is not in sysfs"))?;
        let parent = link.parent().and_then(Path::file_name).with_context(|| format!("{self} is in no port"))?;
        Ok(parent.to_string_lossy().into_owned())
    }

    /// Whether it sits on the root bus, not behind a port or a bridge.
    pub fn on_root_bus(&self) -> bool {
        self.bdf.starts_with("0000:00:")
    }

    /// The name of its driver, if it is bound.
    pub fn driver(&self) -> Option<String> {
        let link = fs::read_link(self.path().join("driver")).ok()?;
        Some(link.file_name()?.to_string_lossy().into_owned())
    }

    /// The number of its IOMMU group.
    pub fn group(&self) -> Result<String> {
        let link =
            fs::read_link(self.path().join("iommu_group")).with_context(|| format!("{self} has no IOMMU group"))?;
        Ok(link.file_name().context("an IOMMU group without a name")?.to_string_lossy().into_owned())
    }

    /// The device file of its group.
    pub fn node(&self) -> Result<PathBuf> {
        Ok(Path::new("/dev/vfio").join(self.group()?))
    }

    /// The device file of its own, which kernels with IOMMUFD make (`Documentation/driver-api/vfio.rst`).
    pub fn own_node(&self) -> Result<PathBuf> {
        let folder = self.path().join("vfio-dev");
        let mut entries = fs::read_dir(&folder).with_context(|| format!("{self} is not bound to vfio-pci"))?;
        let entry = entries.next().with_context(|| format!("{} is empty", folder.display()))??;
        Ok(Path::new("/dev/vfio/devices").join(entry.file_name()))
    }

    /// Takes it from its driver, if it has one, and gives it to `driver`.
    pub fn bind(&self, driver: &str) -> Result<()> {
        self.unbind()?;
        self.write("driver_override", driver)?;
        let probe = format!("{BUS}/drivers_probe");
        // A device that was just plugged is in sysfs a moment before the kernel lets drivers look at it
        // (`pci_dev_assign_added` and `match_driver` in drivers/pci/bus.c).
        wait::until(SETTLE, || {
            fs::write(&probe, &self.bdf).with_context(|| format!("{driver} does not take {self}"))?;
            match self.driver() {
                Some(bound) if bound == driver => Ok(()),
                other => bail!("{self} was offered to {driver} and has {other:?}"),
            }
        })
    }

    /// Takes it from its driver, if it has one. Blocks while a VFIO device is open.
    pub fn unbind(&self) -> Result<()> {
        match self.driver() {
            Some(_) => self.write("driver/unbind", &self.bdf),
            None => Ok(()),
        }
    }

    fn attribute(&self, name: &str) -> Result<String> {
        let path = self.path().join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    fn write(&self, name: &str, value: &str) -> Result<()> {
        let path = self.path().join(name);
        fs::write(&path, value).with_context(|| format!("cannot write `{value}` to {}", path.display()))
    }
}

impl fmt::Display for Pci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bdf)
    }
}
