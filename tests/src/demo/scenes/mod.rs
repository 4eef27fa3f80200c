//! The scenes, in the order in which they are told.

mod card;
mod device_gone;
mod kubelet_restart;
mod permit;
mod pod;
mod reload;
mod start;
mod stop;
mod summary;

use super::{figures::count, stage::Stage};
use anyhow::Result;

/// Tells the whole story.
pub async fn play(stage: &mut Stage) -> Result<()> {
    stage.page.title("vfiod: the main job of a VFIO device plugin, as it happens")?;
    let (pci, mdevs) = (count(stage.options.pci as usize), count(stage.options.mdevs as usize));
    stage.page.say(&format!(
        "Real: the vfiod binary and its gRPC conversation with the kubelet. Simulated, in a temporary folder: a host's \
         /sys and /dev with {pci} PCI devices and {mdevs} mediated devices, and a kubelet. Every time is measured in \
         this run, on this machine. (cargo xtask demo --vm: the same job on a real kernel.)"
    ))?;
    permit::play(stage)?;
    start::play(stage).await?;
    let pod = pod::play(stage).await?;
    device_gone::play(stage).await?;
    reload::play(stage).await?;
    card::play(stage).await?;
    kubelet_restart::play(stage, &pod).await?;
    stop::play(stage, &pod).await?;
    summary::play(stage)
}
