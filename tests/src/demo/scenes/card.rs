//! Two pods want one function each of a card whose functions share an IOMMU group: one of them gets the card.

use crate::demo::{
    figures::time,
    host::{AUDIO, QUADRO, card_group},
    stage::Stage,
};
use anyhow::{Context, Result, bail, ensure};
use std::time::{Duration, Instant};
use vfiod_simulator::kubelet::{AdmittedPod, ContainerError, PodSpec};

/// How long a kubelet waits until it tries a container again that did not start
/// (kubernetes: `pkg/kubelet/kubelet.go`, `backOffPeriod`).
const BACK_OFF: Duration = Duration::from_secs(10);

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    stage.page.scene("An IOMMU group has one owner")?;
    let group = card_group(stage.node()?)?;
    stage.page.say(&format!(
        "GPU and audio controller of that card share IOMMU group {group}. The kernel hands a group to one process only, but to the \
         kubelet they are two resources. Two pods arrive at the same moment, and each asks for one of them:"
    ))?;
    stage.page.blank()?;
    let a = admit(stage, "vm-a", &[QUADRO]).await?;
    let b = admit(stage, "vm-b", &[AUDIO]).await?;
    stage.kubelet()?.start_container(a.uid(), "compute").await.context("vm-a does not start")?;
    stage.page.quote("vm-a  asks for the GPU    admitted, its container starts")?;
    let begun = Instant::now();
    let refusal = match stage.kubelet()?.start_container(b.uid(), "compute").await {
        Err(ContainerError::PreStart { status, .. }) => status,
        Err(other) => bail!("vm-b was refused for another reason: {other}"),
        Ok(_) => bail!("vm-b started with a function of the card that vm-a has"),
    };
    let refused = begun.elapsed();
    stage.page.quote("vm-b  asks for the audio  admitted, its container is held back:")?;
    stage.page.blank()?;
    stage.page.quote(&format!("{:?}: {}", refusal.code(), refusal.message()))?;
    stage.page.blank()?;
    stage.page.say(&format!(
        "That is the answer to PreStartContainer, after {}: vfiod has read in the kubelet's checkpoint who owns the GPU. The kubelet \
         tries again later, and no admission had to wait.",
        time(refused)
    ))?;

    ensure!(stage.kubelet()?.finish_pod(a.uid()), "vm-a is gone");
    stage.page.say("vm-a ends. The kubelet tries vm-b again after its usual ten seconds:")?;
    stage.page.blank()?;
    stage.page.wait(BACK_OFF).await?;
    let begun = Instant::now();
    stage.kubelet()?.start_container(b.uid(), "compute").await.context("vm-b does not start after vm-a has ended")?;
    let started = begun.elapsed();
    stage.page.quote(&format!("vm-b  its container starts ({})", time(started)))?;
    stage.page.blank()?;
    stage.note("second pod on a claimed group: refused", time(refused));
    stage.note("first pod has ended: second one starts", time(started));
    both(stage, &b).await
}

/// One pod that wants the whole card gets it.
async fn both(stage: &mut Stage, b: &AdmittedPod) -> Result<()> {
    stage.wait_for("the GPU is withheld while vm-b has its sibling", |state| state.allocatable(QUADRO) == 0).await?;
    ensure!(stage.kubelet()?.finish_pod(b.uid()), "vm-b is gone");
    let ended = Instant::now();
    stage
        .wait_for("both functions are free", |state| state.allocatable(QUADRO) == 1 && state.allocatable(AUDIO) == 1)
        .await?;
    let free = ended.elapsed();
    let c = admit(stage, "vm-c", &[QUADRO, AUDIO]).await?;
    stage.kubelet()?.start_container(c.uid(), "compute").await.context("vm-c does not start")?;
    stage.page.say(&format!(
        "vm-b ends too, and after {} both functions are allocatable again: while somebody waits, vfiod looks every five \
         seconds who owns what. vm-c asks for both and gets the pair: {}.",
        time(free),
        c.device_ids().join(" and ")
    ))?;
    ensure!(stage.kubelet()?.finish_pod(c.uid()), "vm-c is gone");
    Ok(())
}

async fn admit(stage: &Stage, name: &str, resources: &[&str]) -> Result<AdmittedPod> {
    let spec = PodSpec::new("default", name).container("compute", resources.iter().map(|resource| (*resource, 1)));
    stage.kubelet()?.admit(spec).await.with_context(|| format!("{name} is not admitted"))
}
