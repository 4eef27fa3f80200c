//! What could not be read, why, and what that means for the device.

use rustix::io::Errno;
use std::{fmt, path::PathBuf};
use vfiod_core::device::DeviceId;

/// Something on the host that could not be read or understood.
///
/// Equal faults are the same fault: compare with those of the scan before to say each one once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}: {cause}; {consequence}", path.display())]
pub struct Fault {
    /// The host's path, without the host root.
    pub path: PathBuf,
    /// The device that is meant, where it is one. What was known of it before is still the best that is known.
    pub device: Option<DeviceId>,
    /// What went wrong.
    pub cause: Cause,
    /// What vfiod does about it.
    pub consequence: Consequence,
}

/// What went wrong at a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Cause {
    /// The kernel refused.
    #[error("{}", OsError(*.0))]
    Os(Errno),
    /// A link whose target is missing, where the target is needed.
    #[error("the link leads nowhere")]
    BrokenLink,
    /// The text is not what the kernel writes there.
    #[error("{found:?} is not {expected}")]
    Malformed {
        /// What was found, shortened.
        found: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A file or a line of it is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
}

/// What vfiod does about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consequence {
    /// A list of devices is not known in full: no device is taken for removed because of this scan.
    ListIncomplete,
    /// The device is left out; one that was known before keeps its last state.
    DeviceLeftOut,
    /// The entry is not a device to vfiod.
    EntryIgnored,
    /// The device is offered without its NUMA node.
    WithoutNuma,
    /// The device is offered without its nodes below `/dev/vfio/devices`.
    WithoutCdevs,
    /// The device is offered; the physical function behind it is not known.
    WithoutPhysfn,
    /// The device does not count as an NVIDIA vGPU.
    NotVgpu,
    /// The group is made of those members whose own `iommu_group` link says so.
    MembersFromLinks,
    /// The member counts as one without a driver.
    WithoutDriver,
    /// The group counts as not viable until the member can be read.
    GroupNotViable,
    /// The group counts as one with an IOMMU.
    AssumeIommu,
    /// Which nodes exist is not known; what was known before still holds.
    NodesUnknown,
}

impl fmt::Display for Consequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ListIncomplete => "devices known before keep their last state until the list can be read again",
            Self::DeviceLeftOut => "the device is left out until it can be read",
            Self::EntryIgnored => "the entry is ignored",
            Self::WithoutNuma => "the device is offered without a NUMA node",
            Self::WithoutCdevs => "the device is offered without its nodes in /dev/vfio/devices",
            Self::WithoutPhysfn => "the device is offered, its physical function is unknown",
            Self::NotVgpu => "the function does not count as a vGPU",
            Self::MembersFromLinks => "the group is known only by the links of its members",
            Self::WithoutDriver => "it counts as a member of its group that has no driver",
            Self::GroupNotViable => "its group counts as not viable until it can be read",
            Self::AssumeIommu => "the group counts as one with an IOMMU",
            Self::NodesUnknown => "device nodes known before keep their last state until the folder can be read again",
        })
    }
}

/// `Errno` alone prints a number in its debug form; the standard library knows the words.
struct OsError(Errno);

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from(self.0).fmt(f)
    }
}

impl Cause {
    /// Text that is not what was expected, cut to a length that fits a line of a log.
    pub(super) fn malformed(found: &[u8], expected: &'static str) -> Self {
        let found = found.get(..80).unwrap_or(found);
        Self::Malformed { found: String::from_utf8_lossy(found).into_owned(), expected }
    }
}

impl Fault {
    /// Whether the device is left out because of it.
    #[must_use]
    pub fn leaves_out(&self) -> bool {
        self.consequence == Consequence::DeviceLeftOut
    }

    pub(super) fn new(path: impl Into<PathBuf>, cause: impl Into<Cause>, consequence: Consequence) -> Self {
        Self { path: path.into(), device: None, cause: cause.into(), consequence }
    }

    pub(super) fn of(mut self, device: DeviceId) -> Self {
        self.device = Some(device);
        self
    }
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_the_path_the_reason_and_what_follows() {
        let fault = Fault::new("/sys/bus/pci/devices", Errno::ACCESS, Consequence::ListIncomplete);
        assert_eq!(
            fault.to_string(),
            "/sys/bus/pci/devices: Permission denied (os error 13); \
             devices known before keep their last state until the list can be read again"
        );
    }
}
