//! The arguments that start QEMU with the devices.

use super::device::{HostDevice, Source};

/// `-device` and its properties, two words a device, as libvirt gives them to QEMU (libvirt:
/// `src/qemu/qemu_command.c`, `qemuBuildPCIHostdevDevProps`, `qemuBuildHostdevMdevDevProps`,
/// `qemuBuildUSBHostdevDevProps`). Addresses in the guest are left to QEMU.
#[must_use]
pub fn qemu_arguments(devices: &[HostDevice]) -> Vec<String> {
    devices.iter().flat_map(|device| ["-device".to_owned(), properties(device)]).collect()
}

fn properties(device: &HostDevice) -> String {
    // A ramfb cannot be unplugged, so QEMU has it on a device of its own.
    let vfio = if device.ramfb { "vfio-pci-nohotplug" } else { "vfio-pci" };
    let id = device.alias.replace(',', ",,");
    let mut text = match device.source {
        Source::Pci(bdf) => format!("{vfio},host={bdf},id={id}"),
        Source::Mdev(uuid) => format!("{vfio},sysfsdev=/sys/bus/mdev/devices/{uuid},id={id}"),
        Source::Usb { bus, device } => format!("usb-host,hostbus={bus},hostaddr={device},id={id}"),
    };
    match (device.source, device.display) {
        (Source::Pci(_) | Source::Mdev(_), true) => text.push_str(",display=on"),
        // libvirt says so for every mdev (`src/qemu/qemu_domain.c`, `qemuDomainHostdevMdevDefPostParse`).
        (Source::Mdev(_), false) => text.push_str(",display=off"),
        (Source::Pci(_) | Source::Usb { .. }, _) => {}
    }
    if device.ramfb {
        text.push_str(",ramfb=on");
    }
    text
}
