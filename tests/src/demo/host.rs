//! The simulated host: the seed's devices in large numbers, and one card whose two functions share an IOMMU group.

use anyhow::{Context, Result};
use std::path::Path;
use vfiod_simulator::node::{MdevFleet, MdevType, Node, PciFleet, PciSpec};

/// GPUs passed through whole.
pub const T4: &str = "nvidia.com/TU104GL_Tesla_T4";
/// Accelerators for cryptography and compression.
pub const QAT: &str = "intel.com/qat";
/// Slices of GPUs.
pub const VGPU: &str = "nvidia.com/GRID_T4-1Q";
/// The card with two functions: its GPU.
pub const QUADRO: &str = "nvidia.com/TU104GL_Quadro_RTX_5000";
/// The card with two functions: its audio controller.
pub const AUDIO: &str = "nvidia.com/TU104_HD_Audio";

/// What KubeVirt's documentation permits as its example.
pub const SEED: &str = r#"configuration:
  permittedHostDevices:
    pciHostDevices:
    - pciVendorSelector: "10DE:1EB8"
      resourceName: "nvidia.com/TU104GL_Tesla_T4"
    - pciVendorSelector: "8086:6F54"
      resourceName: "intel.com/qat"
    mediatedDevices:
    - mdevNameSelector: "GRID T4-1Q"
      resourceName: "nvidia.com/GRID_T4-1Q"
"#;

/// The entries that the reload adds, in the place where they go.
pub const ADDED: &str = r#"    - pciVendorSelector: "10DE:1EB0"
      resourceName: "nvidia.com/TU104GL_Quadro_RTX_5000"
    - pciVendorSelector: "10DE:10F8"
      resourceName: "nvidia.com/TU104_HD_Audio"
"#;

/// The seed's configuration with [`ADDED`].
pub fn extended() -> String {
    SEED.replace("    mediatedDevices:", &format!("{ADDED}    mediatedDevices:"))
}

/// A T4 has 16 GB, a 1Q slice 1 GB.
const SLICES: u32 = 16;
/// The card with two functions.
const CARD: [&str; 2] = ["0000:00:10.0", "0000:00:10.1"];

/// How many devices of each kind the host has.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// T4s on `vfio-pci`.
    pub t4: usize,
    /// QATs on `vfio-pci`.
    pub qat: usize,
    /// vGPUs.
    pub vgpu: usize,
    /// T4s on `nvidia`, which carry the vGPUs.
    pub parents: usize,
}

impl Counts {
    /// A quarter of the PCI functions are QATs, a few carry the vGPUs, two are the card, the others are T4s.
    pub fn of(pci: u32, mdevs: u32) -> Result<Self> {
        let (parents, qat) = (mdevs.div_ceil(SLICES), pci / 4);
        let t4 = pci.checked_sub(parents + qat + 2).filter(|&left| left > 0).with_context(|| {
            format!("{mdevs} mdevs need {parents} GPUs of their own: more than {pci} PCI functions allow; raise --pci")
        })?;
        Ok(Self { t4: t4 as usize, qat: qat as usize, vgpu: mdevs as usize, parents: parents as usize })
    }

    /// The resources of [`SEED`] and how many devices each has.
    pub const fn served(&self) -> [(&'static str, usize); 3] {
        [(T4, self.t4), (QAT, self.qat), (VGPU, self.vgpu)]
    }
}

/// Lays the host out in `folder`.
pub fn build(counts: Counts, folder: &Path) -> Result<Node> {
    let offered = MdevType::new("nvidia-222", "GRID T4-1Q");
    let parents = PciFleet::new("10DE:1EB8", counts.parents).first_domain(2).driver("nvidia").numa_nodes(2);
    let [gpu, audio] = CARD;
    let node = Node::builder()
        .at(folder)
        .pci(PciSpec::new(gpu, "10DE:1EB0").class(0x03_00_00).driver("vfio-pci").numa(0))
        .pci(PciSpec::new(audio, "10DE:10F8").class(0x04_03_00).driver("vfio-pci").numa(0).sharing_group_with(gpu))
        .pci_fleet(&PciFleet::new("10DE:1EB8", counts.t4).driver("vfio-pci").numa_nodes(2))
        .pci_fleet(
            &PciFleet::new("8086:6F54", counts.qat).class(0x0b_40_00).first_domain(1).driver("vfio-pci").numa_nodes(2),
        )
        .mdev_fleet(&MdevFleet::new(offered, counts.vgpu, parents))
        .build()?;
    Ok(node)
}

/// The IOMMU group of the card with two functions.
pub fn card_group(node: &Node) -> Result<u32> {
    node.group_of(CARD[0]).context("the card with two functions has no IOMMU group")
}
