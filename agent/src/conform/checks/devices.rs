//! The device nodes that a container is given.

use crate::conform::{
    book::Book,
    check::{Check, Group, Needs},
    subject::{Subject, Terms},
};
use std::{collections::HashSet, path::Path};
use vfiod_core::device::DeviceId;
use vfiod_proto::deviceplugin::{ContainerAllocateResponse, DeviceSpec};

/// The checks of this file.
pub const GROUP: Group = Group {
    name: "devices",
    about: "the device nodes that a container is given",
    checks: &[&PATHS, &UNIQUE, &EXIST, &PERMISSIONS, &GROUP_NODE, &ONE_WAY],
};

/// Paths are absolute.
pub static PATHS: Check = Check {
    name: "devices.paths",
    title: "host and container paths are absolute, with no . or .. in them",
    source: "kubelet: pkg/kubelet/cm/devicemanager/pod_devices.go, deviceRunContainerOptions: the paths go to the container runtime as they are",
    consequence: "The container runtime refuses to make the container: the pod stays in CreateContainerError.",
    needs: Needs::Socket,
};

/// Each path once.
pub static UNIQUE: Check = Check {
    name: "devices.unique",
    title: "each container path is there once",
    source: "kubelet: pkg/kubelet/cm/devicemanager/pod_devices.go, deviceRunContainerOptions; KubeVirt: pkg/virt-handler/device-manager/common.go, formatVFIODeviceSpecs",
    consequence: "Container runtimes differ: some refuse to make the container (\"duplicate device\"), so the pod works on one node and not on another.",
    needs: Needs::Socket,
};

/// The nodes are there.
pub static EXIST: Check = Check {
    name: "devices.exist",
    title: "every host path exists on this host",
    source: "kubelet: pkg/kubelet/cm/devicemanager/pod_devices.go, deviceRunContainerOptions: the container runtime stats each host path",
    consequence: "The container cannot be made (\"no such file or directory\"): the pod stays in CreateContainerError.",
    needs: Needs::Socket,
};

/// Permissions of the cgroup's device controller.
pub static PERMISSIONS: Check = Check {
    name: "devices.permissions",
    title: "permissions are made of r, w and m, and hold r and w",
    source: "kubelet: staging/src/k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/api.proto, DeviceSpec; KubeVirt: pkg/virt-handler/device-manager/common.go gives mrw",
    consequence: "QEMU gets \"Operation not permitted\" when it opens the device, or the container cannot be made.",
    needs: Needs::Socket,
};

/// The group of the device is among them.
pub static GROUP_NODE: Check = Check {
    name: "devices.group",
    title: "a VFIO device comes with /dev/vfio/vfio and its /dev/vfio/<group>, or its /dev/vfio/devices/<name> and /dev/iommu, at the same path inside",
    source: "KubeVirt: pkg/virt-handler/device-manager/common.go, formatVFIODeviceSpecs; the kubelet passes them on",
    consequence: "QEMU fails to open the group: \"vfio: failed to open /dev/vfio/N: No such file or directory\".",
    needs: Needs::Socket,
};

/// One way to the IOMMU.
pub static ONE_WAY: Check = Check {
    name: "devices.one-way",
    title: "/dev/iommu is not given together with /dev/vfio/vfio",
    source: "KubeVirt: pkg/virt-handler/device-manager: /dev/iommu is a resource of its own, devices.kubevirt.io/iommufd",
    consequence: "libvirt takes the one way for some devices and the other for the rest, and VMs with several devices fail to start.",
    needs: Needs::Socket,
};

const CONTAINER: &str = "/dev/vfio/vfio";
const IOMMU: &str = "/dev/iommu";

/// Checks what single devices are given, and what two are given together.
pub(in crate::conform) async fn check(subject: &Subject, terms: &Terms, book: &mut Book) {
    for probe in &subject.probes {
        response(subject, &format!("[{}]", probe.device), &probe.response, terms, book);
        for address in probe.addresses(subject.resource.as_deref()) {
            group(subject, &address, &probe.response, terms, book);
        }
    }
    if let [first, second, ..] = subject.probes.as_slice() {
        let ids: &[&str] = &[&first.device, &second.device];
        if let Ok(responses) = subject.plugin.allocate(&[ids], terms.patience).await {
            for together in &responses {
                response(subject, &format!("[{}]", ids.join(", ")), together, terms, book);
            }
        }
    }
}

fn response(subject: &Subject, asked: &str, given: &ContainerAllocateResponse, terms: &Terms, book: &mut Book) {
    let name = subject.name();
    let mut inside = HashSet::new();
    for spec in &given.devices {
        let DeviceSpec { container_path, host_path, permissions } = spec;
        let plain = is_plain(container_path) && is_plain(host_path);
        book.judge(&PATHS, name, plain, || format!("{asked}: {host_path:?} as {container_path:?} inside"));
        book.judge(&UNIQUE, name, inside.insert(container_path), || {
            format!("{asked}: {container_path} is there twice")
        });
        if plain {
            book.judge(&EXIST, name, terms.host.has(host_path), || format!("{asked}: this host has no {host_path}"));
        }
        book.judge(&PERMISSIONS, name, may_be(permissions), || {
            format!("{asked}: {host_path} has permissions {permissions:?}")
        });
    }
    for mount in &given.mounts {
        book.judge(&EXIST, name, terms.host.has(&mount.host_path), || {
            format!("{asked}: this host has no {}, which is to be mounted", mount.host_path)
        });
    }
    if given.devices.is_empty() {
        return book.all_unchecked(GROUP.checks, "no device nodes are given");
    }
    let both = [CONTAINER, IOMMU].iter().all(|path| given.devices.iter().any(|spec| spec.container_path == *path));
    book.judge(&ONE_WAY, name, !both, || format!("{asked}: both {CONTAINER} and {IOMMU} are given"));
}

/// Checks that the nodes of this address are among those that are given.
fn group(subject: &Subject, address: &str, given: &ContainerAllocateResponse, terms: &Terms, book: &mut Book) {
    let group = address.parse::<DeviceId>().ok().and_then(|device| terms.host.group(device));
    let Some(group) = group else {
        return book.unchecked(&GROUP_NODE, "this host knows no IOMMU group of the addresses; see --host-root");
    };
    let is_given = |path: &str| {
        given.devices.iter().any(|spec| spec.container_path == path && spec.host_path == spec.container_path)
    };
    let node = format!("/dev/vfio/{group}");
    let by_group = is_given(CONTAINER) && is_given(&node);
    let by_device = is_given(IOMMU)
        && given
            .devices
            .iter()
            .any(|spec| spec.container_path.starts_with("/dev/vfio/devices/") && spec.host_path == spec.container_path);
    book.judge(&GROUP_NODE, subject.name(), by_group || by_device, || {
        let paths: Vec<&str> = given.devices.iter().map(|spec| spec.container_path.as_str()).collect();
        format!(
            "{address} is in group {group} and comes with [{}]; {CONTAINER} and {node} are needed",
            paths.join(", ")
        )
    });
}

fn is_plain(path: &str) -> bool {
    Path::new(path).is_absolute() && !path.split('/').any(|part| part == "." || part == "..")
}

fn may_be(permissions: &str) -> bool {
    permissions.bytes().all(|letter| b"rwm".contains(&letter))
        && ['r', 'w'].iter().all(|one| permissions.contains(*one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_letters_of_the_device_controller() {
        for good in ["mrw", "rw", "rwm"] {
            assert!(may_be(good), "{good}");
        }
        for bad in ["", "r", "rwx", "RW", "mr", "r w"] {
            assert!(!may_be(bad), "{bad}");
        }
    }

    #[test]
    fn a_path_is_absolute_and_goes_nowhere_else() {
        assert!(is_plain("/dev/vfio/12"));
        for bad in ["", "dev/vfio/12", "/dev/../etc/passwd", "/dev/./vfio"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
