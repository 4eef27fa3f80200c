//! IOMMU groups of several devices, as the kernel sees them.

use crate::vm::Guest;
use crate::vm::opener::{self, group};
use anyhow::{Result, ensure};

/// Leaves every device bound to `vfio-pci`.
pub fn run(guest: &mut Guest) -> Result<()> {
    guest.check("both functions of a shared group open through one group node", |guest| {
        let [one, other] = &guest.bench.pair;
        let node = one.node()?;
        ensure!(node == other.node()?, "{one} and {other} should share a group");
        opener::open(&[group(&node, &[one.bdf(), other.bdf()])])?
            .expect(&[format!("config {one} 1234:11e8"), format!("config {other} 1234:11e8")])
    })?;
    guest.check("a group with a bridge in it opens", |guest| {
        let [one, other] = &guest.bench.bridged;
        let node = one.node()?;
        opener::open(&[group(&node, &[one.bdf(), other.bdf()])])?
            .expect(&[format!("config {one} 1234:11e8"), format!("config {other} 1234:11e8")])
    })?;
    guest.check("a sibling on a host driver makes the kernel refuse the group until it leaves", |guest| {
        let [one, other] = &guest.bench.pair;
        let node = one.node()?;
        other.bind("uio_pci_generic")?;
        let refused = opener::open(&[group(&node, &[one.bdf()])]);
        other.unbind()?;
        let refused = refused?;
        ensure!(refused.code == Some(3), "with {other} on uio_pci_generic: {refused:?}");
        opener::open(&[group(&node, &[one.bdf()])])?.expect(&[format!("config {one} 1234:11e8")])?;
        other.bind("vfio-pci")
    })?;
    guest.check("a sibling on pci-stub leaves the group viable", |guest| {
        let [one, other] = &guest.bench.pair;
        let node = one.node()?;
        other.bind("pci-stub")?;
        let opened = opener::open(&[group(&node, &[one.bdf()])]);
        other.bind("vfio-pci")?;
        opened?.expect(&[format!("config {one} 1234:11e8")])
    })
}
