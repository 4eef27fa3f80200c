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
use anyhow::{Result, ensure};
use vfiod_simulator::kubelet::{AdmittedPod, Health};

/// Tells the whole story.
pub async fn play(stage: &mut Stage) -> Result<()> {
    stage.page.title("vfiod: the main job of a VFIO device plugin, as it happens")?;
    stage.page.blank()?;
    let (pci, mdevs) = (count(stage.options.pci as usize), count(stage.options.mdevs as usize));
    stage.page.say(&format!(
        "Simulated, in a temporary folder: a host's /sys and /dev with {pci} PCI devices and {mdevs} mediated devices, and \
         a kubelet. Real: the vfiod that serves them, every message between the two, and every time below, measured in \
         this run. On a real kernel: cargo xtask demo --vm"
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

/// The kubelet shows all devices of the pod as healthy.
fn pod_is_healthy(stage: &Stage, pod: &AdmittedPod) -> Result<()> {
    let status = stage.kubelet()?.look(|state| state.pod_status(pod.uid()));
    let healthy = status.len() == pod.device_ids().len() && status.values().all(|&health| health == Health::Healthy);
    ensure!(healthy, "the devices of {} should be Healthy: {status:?}", pod.spec.name);
    Ok(())
}
