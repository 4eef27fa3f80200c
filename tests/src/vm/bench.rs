//! The machine's devices by what they are good for, told apart by what sysfs says of them.
//! `xtask/src/vm/machine.rs` puts them there.

use super::pci::Pci;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// The devices that are here to be passed through.
pub struct Bench {
    /// Two functions on the root bus that have an IOMMU group each.
    pub lone: [Pci; 2],
    /// Two functions of one device, in one group.
    pub pair: [Pci; 2],
    /// Two devices behind a bridge, in one group with the bridge.
    pub bridged: [Pci; 2],
    /// A device in a root port, which can be unplugged.
    pub in_port: Pci,
    /// A device of PCI Express with error reporting (AER), in a root port. It is bound to nothing but where a check does it, and not
    /// one of [`Self::all`].
    pub express: Pci,
}

impl Bench {
    /// Finds them.
    pub fn find() -> Result<Self> {
        let mut groups: BTreeMap<String, Vec<Pci>> = BTreeMap::new();
        let mut express = Vec::new();
        for device in Pci::all()? {
            if device.is_virtio() {
                express.push(device.clone());
            }
            groups.entry(device.group()?).or_default().push(device);
        }
        let (mut lone, mut pair, mut bridged, mut in_port) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for members in groups.into_values() {
            let alone = members.len() == 1;
            for device in members.into_iter().filter(Pci::is_edu) {
                match (device.on_root_bus(), alone) {
                    (true, true) => lone.push(device),
                    (true, false) => pair.push(device),
                    (false, false) => bridged.push(device),
                    (false, true) => in_port.push(device),
                }
            }
        }
        Ok(Self {
            lone: just("devices with a group each", lone)?,
            pair: just("functions that share a group", pair)?,
            bridged: just("devices behind a bridge", bridged)?,
            in_port: just::<1>("device in a root port", in_port)?.into_iter().next().context("no device")?,
            express: just::<1>("virtio device", express)?.into_iter().next().context("no device")?,
        })
    }

    /// Every device.
    pub fn all(&self) -> impl Iterator<Item = &Pci> {
        self.lone.iter().chain(&self.pair).chain(&self.bridged).chain([&self.in_port])
    }
}

fn just<const N: usize>(what: &str, mut found: Vec<Pci>) -> Result<[Pci; N]> {
    found.sort();
    match found.try_into() {
        Ok(exact) => Ok(exact),
        Err(found) => bail!("the machine should have {N} {what} and has {found:?}"),
    }
}
