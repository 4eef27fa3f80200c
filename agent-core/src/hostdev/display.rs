//! Which vGPU shows the guest's display.

use super::{
    assign::Assignment,
    device::{HostDevice, Source},
    machine::{Entry, List, Machine},
};
use crate::permit::Problem;

/// Turns displays on (KubeVirt: `createMDEVHostDeviceWithDisplay`, `createPCIHostDevice`, and `isVgpuDisplaySet` for the
/// default).
///
/// - An mdev of `gpus` with `virtualGPUOptions.display` has what it says: on, with ramfb, unless it says otherwise.
/// - Where no entry of `gpus` has it, the first mdev gets both.
/// - A PCI function of `gpus` (an SR-IOV vGPU) has one only where `enabled: true` is written.
/// - `hostDevices` never has one.
pub(super) fn decide(machine: &Machine, devices: &mut [HostDevice]) {
    let gpus = || machine.entries.iter().filter(|entry| entry.list == List::Gpus);
    let said = gpus().any(|entry| entry.display.is_some());
    let mut default = !said;
    for device in devices {
        let Some(entry) = machine.entries.get(device.entry).filter(|entry| entry.list == List::Gpus) else { continue };
        (device.display, device.ramfb) = match (device.source, entry.display) {
            (Source::Mdev(_), Some(display)) if display.enabled != Some(false) => (true, display.ramfb),
            (Source::Pci(_), Some(display)) if display.enabled == Some(true) => (true, display.ramfb),
            (Source::Mdev(_), None) => {
                let first = std::mem::take(&mut default);
                (first, first)
            }
            _ => (false, false),
        };
    }
}

/// What virt-api refuses of displays, before a pod exists (KubeVirt: `countConfiguredMDEVRamFBs`): a second ramfb.
pub(super) fn refused(machine: &Machine) -> Vec<Problem> {
    let has_ramfb =
        |entry: &&Entry| entry.display.is_some_and(|display| display.enabled != Some(false) && display.ramfb);
    let mut entries = machine.entries.iter().filter(has_ramfb);
    let Some(first) = entries.next() else { return Vec::new() };
    let second = |entry: &Entry| {
        let path = format!("{}.virtualGPUOptions.display", entry.path);
        let what = format!("turns a second ramfb on; {} has one, and QEMU takes one only", first.path);
        Problem::new(entry.at, path, what, "set ramFB.enabled: false")
    };
    entries.map(second).collect()
}

/// What libvirt refuses of displays (`src/qemu/qemu_validate.c`, `qemuValidateDomainMdevDefVFIOPCI`): one without a
/// graphics device.
pub(super) fn check_graphics(machine: &Machine, assignment: &mut Assignment) {
    if machine.graphics {
        return;
    }
    let shown = assignment.devices.iter().filter(|device| device.display);
    let entries = shown.filter_map(|device| machine.entries.get(device.entry));
    let problems = entries.map(|entry| {
        let what = "has its display on, and the machine has no graphics device (autoattachGraphicsDevice: false): \
                    libvirt refuses that";
        Problem::new(entry.at, entry.path.clone(), what, "add virtualGPUOptions: {display: {enabled: false}}")
    });
    assignment.problems.extend(problems);
}
