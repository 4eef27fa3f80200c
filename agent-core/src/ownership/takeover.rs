//! Taking a node over from KubeVirt's own device plugin, under running virtual machines.
//!
//! KubeVirt's plugin lists a device under the number of its IOMMU group, PCI devices and mdevs alike (KubeVirt:
//! `pkg/virt-handler/device-manager/pci_device.go`, `constructDPIdevices`, and `mediated_device.go`,
//! `constructDPIdevicesFromMdev`). The kubelet keeps that number for as long as the pod lives: it frees it when the pod ends,
//! sends it again for the next container of the pod, and looks for it among the listed devices when it admits the pod anew.
//! So a device whose owner has it under such a *former id* is listed under that id, and under its own when it is free.
//!
//! Which device a number stood for is read from the plugin's answer, which the kubelet keeps beside the ids: the variables
//! name the devices and the device nodes the groups, in the same order. sysfs could tell as well, but the number of a group
//! changes with a reboot, and several devices of a resource may share one.

use crate::device::{DeviceId, GroupId, former_id};
use std::{collections::HashMap, sync::Arc};

/// Which device each group number stands for in a plugin's answer, given its variables and the container's device nodes;
/// empty where the answer does not tell.
pub fn former_devices<'a>(
    variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    nodes: impl IntoIterator<Item = &'a str>,
) -> Vec<(GroupId, DeviceId)> {
    let group = |path: &str| former_id(path.strip_prefix("/dev/vfio/")?.as_bytes());
    let groups: Vec<GroupId> = nodes.into_iter().filter_map(group).collect();
    let devices =
        |value: &str| value.split(',').filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect();
    let carries = |name: &str| name.starts_with("PCI_RESOURCE_") || name.starts_with("MDEV_PCI_RESOURCE_");
    let lists = variables.into_iter().filter(|(name, _)| carries(name));
    let mut lists =
        lists.filter_map(|(_, value)| devices(value)).filter(|list: &Vec<DeviceId>| list.len() == groups.len());
    // Two spellings of one variable carry the same list.
    lists.next().map(|list| groups.into_iter().zip(list).collect()).unwrap_or_default()
}

/// What is known of former ids: it is learned from the checkpoint, and needed for PodResources, which names ids alone.
#[derive(Debug, Default)]
pub struct Formers(HashMap<(Arc<str>, GroupId), DeviceId>);

impl Formers {
    /// Learns what the answer to one container says of the ids that it has.
    pub fn learn(&mut self, resource: &Arc<str>, pairs: &[(GroupId, DeviceId)]) {
        for &(former, device) in pairs {
            self.0.insert((Arc::clone(resource), former), device);
        }
    }

    /// What an id names: a device by its own id, or by a former one.
    #[must_use]
    pub fn named(&self, resource: &Arc<str>, id: &str) -> Option<(DeviceId, Option<GroupId>)> {
        if let Ok(device) = id.parse() {
            return Some((device, None));
        }
        let former = former_id(id.as_bytes())?;
        self.0.get(&(Arc::clone(resource), former)).map(|&device| (device, Some(former)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> DeviceId {
        text.parse().unwrap()
    }

    const T4: &str = "PCI_RESOURCE_NVIDIA_COM_TU104GL_TESLA_T4";

    #[test]
    fn groups_and_devices_of_an_answer_are_paired_in_their_order() {
        let nodes = ["/dev/vfio/vfio", "/dev/vfio/42", "/dev/vfio/vfio", "/dev/vfio/7", "/dev/vfio/devices/vfio3"];
        let pairs = former_devices([("PATH", "/bin"), (T4, "0000:3b:00.0,0000:5e:00.0")], nodes);
        assert_eq!(pairs, [(42, id("0000:3b:00.0")), (7, id("0000:5e:00.0"))]);
        let uuid = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
        let pairs = former_devices([("MDEV_PCI_RESOURCE_NVIDIA_COM_GRID_T4-1Q", uuid)], ["/dev/vfio/9"]);
        assert_eq!(pairs, [(9, id(uuid))]);
    }

    #[test]
    fn an_answer_that_does_not_tell_is_not_guessed_at() {
        let one = [(T4, "0000:3b:00.0")];
        assert_eq!(former_devices(one, ["/dev/vfio/vfio"]), []);
        assert_eq!(former_devices(one, ["/dev/vfio/1", "/dev/vfio/2"]), []);
        assert_eq!(former_devices([(T4, "bus:3"), ("OTHER", "0000:3b:00.0")], ["/dev/vfio/1"]), []);
        assert_eq!(former_devices(one, ["/dev/vfio/noiommu-1", "/dev/kvm", "/dev/vfio/01"]), []);
    }

    #[test]
    fn an_id_is_a_device_or_what_was_learned_of_it_under_its_resource() {
        let (mine, other): (Arc<str>, Arc<str>) = ("a.com/gpu".into(), "b.com/gpu".into());
        let mut formers = Formers::default();
        formers.learn(&mine, &[(42, id("0000:3b:00.0"))]);
        assert_eq!(formers.named(&mine, "42"), Some((id("0000:3b:00.0"), Some(42))));
        assert_eq!(formers.named(&mine, "0000:3c:00.0"), Some((id("0000:3c:00.0"), None)));
        assert_eq!(formers.named(&other, "42"), None, "the group of another plugin may have the same number");
        assert_eq!(formers.named(&mine, "kvm42"), None);
    }

    proptest! {
        #[test]
        fn what_kubevirt_answered_is_read_back(entries in prop::collection::btree_map(0..100_000u32, 0..0x1_0000u32, 1..12)) {
            let device = |n: u32| format!("{:04x}:{:02x}:00.0", n >> 8, n & 0xff);
            let value: Vec<String> = entries.values().map(|&n| device(n)).collect();
            let nodes: Vec<String> = entries.keys().flat_map(|group| ["/dev/vfio/vfio".to_owned(), format!("/dev/vfio/{group}")]).collect();
            let pairs = former_devices([(T4, value.join(",").as_str())], nodes.iter().map(String::as_str));
            let expected: Vec<_> = entries.iter().map(|(&group, &n)| (group, id(&device(n)))).collect();
            prop_assert_eq!(pairs, expected);
        }

        #[test]
        fn any_answer_is_survived(
            variables in prop::collection::vec(("(MDEV_)?PCI_RESOURCE_[A-Z]{0,3}|[A-Z]{1,5}", "[0-9a-f:.,-]{0,40}"), 0..4),
            nodes in prop::collection::vec("/dev/vfio/[0-9a-z]{0,12}", 0..5),
        ) {
            let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let pairs = former_devices(variables, nodes.iter().map(String::as_str));
            prop_assert!(pairs.len() <= nodes.len());
        }
    }
}
