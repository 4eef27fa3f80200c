//! What the probe hangs on to in the kernel, and the state of each.

use std::fmt;

/// One program of the object and the function of the kernel that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hook {
    /// The program's name in the object.
    pub(super) program: &'static str,
    /// The function, or the tracepoint.
    pub(super) function: &'static str,
    pub(super) place: Place,
}

/// Where a hook is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A function of this module, or of the kernel where the module is built in.
    Module(&'static str),
    /// A function of the module `vfio` in kernels that give devices nodes of their own. Others may have a stub of it, which
    /// cannot be hooked.
    DeviceNodes,
    /// A tracepoint that every kernel has.
    Tracepoint,
}

impl Place {
    /// The module, if it is one.
    pub(super) const fn module(self) -> Option<&'static str> {
        match self {
            Self::Module(module) => Some(module),
            Self::DeviceNodes => Some("vfio"),
            Self::Tracepoint => None,
        }
    }
}

const VFIO: Place = Place::Module("vfio");
const PCI: Place = Place::Module("vfio_pci_core");

const fn hook(program: &'static str, function: &'static str, place: Place) -> Hook {
    Hook { program, function, place }
}

/// All of them. Ends come before begins, so that no begin is seen whose end is not.
pub(super) const HOOKS: &[Hook] = &[
    hook("module_load", "module_load", Place::Tracepoint),
    hook("module_free", "module_free", Place::Tracepoint),
    hook("aer_event", "aer_event", Place::Tracepoint),
    hook("group_release_end", "vfio_group_fops_release", VFIO),
    hook("group_release", "vfio_group_fops_release", VFIO),
    hook("device_release_end", "vfio_device_fops_release", VFIO),
    hook("device_release", "vfio_device_fops_release", VFIO),
    hook("group_open_end", "vfio_group_fops_open", VFIO),
    hook("group_open", "vfio_group_fops_open", VFIO),
    hook("group_ioctl_end", "vfio_group_fops_unl_ioctl", VFIO),
    hook("group_ioctl", "vfio_group_fops_unl_ioctl", VFIO),
    hook("node_open_end", "vfio_device_fops_cdev_open", Place::DeviceNodes),
    hook("node_open", "vfio_device_fops_cdev_open", Place::DeviceNodes),
    hook("node_bind_end", "vfio_df_ioctl_bind_iommufd", Place::DeviceNodes),
    hook("node_bind", "vfio_df_ioctl_bind_iommufd", Place::DeviceNodes),
    hook("removing", "vfio_unregister_group_dev", VFIO),
    hook("removing", "vfio_pci_core_request", PCI),
    hook("aer_recovery", "vfio_pci_core_aer_err_detected", PCI),
];

/// The function that is hooked while devices are looked for in sysfs.
pub(super) const LOOK: Hook = hook("device_seen", "dev_attr_show", Place::Tracepoint);

/// Hooks without which opens or closes would go unnoticed: of each pair of paths, the one that this kernel has.
pub(super) const RELEASES: &str = "vfio_device_fops_release";

/// Whether a hook is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// It is on.
    Attached,
    /// Its module is not loaded; it is attached when the module comes.
    Waiting,
    /// The kernel has VFIO and no such function: this kernel does not work that way.
    Absent,
    /// The kernel refused.
    Failed(String),
}

/// One hook and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookState {
    /// The probe's program.
    pub program: &'static str,
    /// The kernel's function or tracepoint.
    pub function: &'static str,
    /// Whether it is on.
    pub attachment: Attachment,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attached => f.write_str("attached"),
            Self::Waiting => f.write_str("waiting for its module"),
            Self::Absent => f.write_str("not in this kernel"),
            Self::Failed(why) => write!(f, "refused: {why}"),
        }
    }
}
