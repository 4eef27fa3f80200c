//! Devices that share an IOMMU group.

use super::Serving;
use crate::vm::node::{EDU, EVENTUALLY, SOON};
use crate::vm::pod::Pod;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use vfiod_simulator::kubelet::Health;

/// Whether the kernel would give a group to a virtual machine at all.
pub fn viability(serving: &mut Serving<'_>) -> Result<()> {
    serving.check(
        "a sibling on a host driver makes a device unhealthy and is named, until it leaves",
        |guest, node| {
            let [device, sibling] = guest.bench.pair.clone();
            sibling.bind("uio_pci_generic")?;
            let refused = node.wait_for_health(EDU, device.bdf(), Some(Health::Unhealthy), SOON);
            let explained = node.explained(device.bdf());
            sibling.unbind()?;
            let back = node.wait_for_health(EDU, device.bdf(), Some(Health::Healthy), SOON);
            sibling.bind("vfio-pci")?;
            refused?;
            explained?.expect("GroupNotViable", &[sibling.bdf(), "uio_pci_generic"])?;
            back?;
            node.wait_for_health(EDU, sibling.bdf(), Some(Health::Healthy), SOON)
        },
    )?;
    serving.check("a sibling on pci-stub leaves a device healthy", |guest, node| {
        let [device, sibling] = guest.bench.pair.clone();
        sibling.bind("pci-stub")?;
        let gone = node.wait_for_health(EDU, sibling.bdf(), Some(Health::Unhealthy), SOON);
        let health = node.kubelet.look(|state| state.health(EDU, device.bdf()));
        sibling.bind("vfio-pci")?;
        gone?;
        ensure!(health == Some(Health::Healthy), "{device} is {health:?}");
        node.wait_for_health(EDU, sibling.bdf(), Some(Health::Healthy), SOON)
    })
}

/// One owner a group.
pub fn sharing(serving: &mut Serving<'_>) -> Result<()> {
    serving.check("what is left of a group is unhealthy until the pod that has the rest ends", |guest, node| {
        let count = guest.bench.all().count();
        node.wait_for_healthy(EDU, count, EVENTUALLY)?;
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for device in guest.bench.all() {
            groups.entry(device.group()?).or_default().push(device.bdf().to_owned());
        }
        let mut pods = Vec::new();
        for group in groups.keys() {
            let pod = node.run_pod(&format!("group-{group}"), EDU, 1)?;
            let ids = pod.ids();
            pods.push(pod);
            let group = groups.values().find(|members| ids.iter().any(|id| members.contains(id)));
            for sibling in group.into_iter().flatten().filter(|member| !ids.contains(member)) {
                node.wait_for_health(EDU, sibling, Some(Health::Unhealthy), SOON)?;
            }
        }
        let taken: Vec<String> = pods.iter().flat_map(Pod::ids).collect();
        for (group, members) in &groups {
            let owners = members.iter().filter(|member| taken.contains(member)).count();
            ensure!(owners == 1, "{owners} pods have devices of group {group}: {taken:?} of {groups:?}");
        }
        let more = node.run_pod("one-too-many", EDU, 1);
        ensure!(more.is_err(), "one more pod got {:?}", more.map(|pod| pod.ids()));
        for pod in &pods {
            pod.open()?.expect(&[])?;
        }
        drop(pods);
        node.wait_for_healthy(EDU, count, EVENTUALLY)
    })
}
