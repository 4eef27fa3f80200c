//! Two pods want one function each of a card whose functions share an IOMMU group: one of them gets the card.

use crate::demo::{
    figures::time,
    host::{AUDIO, QUADRO, card_group},
    stage::{PERMIT, Stage},
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};
use vfiod_simulator::kubelet::{AdmittedPod, ContainerError, PodSpec};

/// How long a kubelet waits until it tries a container again that did not start
/// (kubernetes: `pkg/kubelet/kubelet.go`, `backOffPeriod`).
const BACK_OFF: Duration = Duration::from_secs(10);

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    stage.page.scene("An IOMMU group has one owner")?;
    let group = card_group(stage.node()?)?;
    stage.page.say(&format!(
        "The card's two functions, GPU and audio, share IOMMU group {group}. The kernel gives a group to one process \
         only; to the kubelet these are two independent resources. Two pods arrive at the same moment:"
    ))?;
    stage.page.blank()?;
    let first = admit(stage, "vm-a", &[QUADRO]).await?;
    let second = admit(stage, "vm-b", &[AUDIO]).await?;
    start(stage, &first).await?;
    stage.page.quote("vm-a wants the GPU:   admitted, its container starts")?;
    refuse(stage, &second).await?;

    stage.page.say("vm-a ends. The kubelet tries vm-b again, as always after ten seconds:")?;
    stage.page.blank()?;
    ensure!(stage.kubelet()?.finish_pod(first.uid()), "vm-a is gone");
    stage.page.wait(BACK_OFF).await?;
    let begun = Instant::now();
    start(stage, &second).await?;
    let started = begun.elapsed();
    stage.page.quote(&format!("vm-b: its container starts, {} after it was tried", time(started)))?;
    stage.page.blank()?;
    stage.page.say(
        "(A device counts as released when a kubelet that has been up for a minute no longer lists its pod. To spare you \
         that minute, this kubelet's socket is dated back.)",
    )?;
    stage.note("IOMMU group released: the pod that waited starts", started);
    look(stage, group).await?;
    pair(stage, &second).await
}

/// The second pod is held back before its container starts.
async fn refuse(stage: &mut Stage, pod: &AdmittedPod) -> Result<()> {
    let begun = Instant::now();
    let refusal = match stage.kubelet()?.start_container(pod.uid(), "compute").await {
        Err(ContainerError::PreStart { status, .. }) => status,
        Err(other) => bail!("vm-b was refused for another reason: {other}"),
        Ok(_) => bail!("vm-b started with a function of the card that vm-a has"),
    };
    let refused = begun.elapsed();
    stage.page.quote("vm-b wants the audio: admitted, its container is held back:")?;
    stage.page.blank()?;
    stage.page.quote(&format!("{:?}: {}", refusal.code(), refusal.message()))?;
    stage.page.blank()?;
    stage.page.say(&format!(
        "vfiod said so when it was asked whether the container may start (PreStartContainer, {}), once the kubelet's \
         checkpoint had named the owner of the GPU. No admission waited for that.",
        time(refused)
    ))?;
    stage.page.blank()?;
    stage.note("IOMMU group taken: the second pod is held back", refused);
    Ok(())
}

/// What an operator sees of the two functions while the second pod has one.
async fn look(stage: &mut Stage, group: u32) -> Result<()> {
    stage.wait_for("the GPU is withheld while vm-b has its sibling", |state| state.allocatable(QUADRO) == 0).await?;
    let arguments = [
        "devices",
        "--from",
        "host",
        "--config",
        PERMIT,
        "--host-root",
        "host",
        "--kubelet-dir",
        "kubelet",
        "-o",
        "json",
    ];
    let list: Value = serde_json::from_str(&stage.vfiod(&arguments)?).context("`vfiod devices -o json` is no JSON")?;
    stage.page.blank()?;
    stage.page.say("Meanwhile nobody else is sent to the card. What an operator sees:")?;
    stage.page.blank()?;
    let pick = format!("jq -r '.devices[] | select(.iommuGroup == {group}) | \"\\(.id) \\(.health): \\(.message)\"'");
    stage.page.command(&format!("vfiod {} | {pick}", arguments.join(" ")))?;
    let devices = list.get("devices").and_then(Value::as_array).context("a list without devices")?;
    let members: Vec<&Value> = devices
        .iter()
        .filter(|device| device.get("iommuGroup").and_then(Value::as_u64) == Some(group.into()))
        .collect();
    ensure!(members.len() == 2, "`vfiod devices` shows {} functions of the card", members.len());
    for device in members {
        let text = |name: &str| device.get(name).and_then(Value::as_str).unwrap_or_default();
        stage.page.quote(&format!("{} {}: {}", text("id"), text("health"), text("message")))?;
    }
    stage.page.blank()
}

/// One pod that wants the whole card gets it.
async fn pair(stage: &mut Stage, holder: &AdmittedPod) -> Result<()> {
    ensure!(stage.kubelet()?.finish_pod(holder.uid()), "vm-b is gone");
    let ended = Instant::now();
    let free = "both functions are free";
    stage.wait_for(free, |state| state.allocatable(QUADRO) == 1 && state.allocatable(AUDIO) == 1).await?;
    let free = ended.elapsed();
    let third = admit(stage, "vm-c", &[QUADRO, AUDIO]).await?;
    start(stage, &third).await?;
    stage.page.say(&format!(
        "vm-b ends too, and {} later the card is allocatable again: while a device is withheld, vfiod looks every five \
         seconds who owns what. vm-c asks for GPU and audio, and gets the pair: {}.",
        time(free),
        third.device_ids().join(" and ")
    ))?;
    ensure!(stage.kubelet()?.finish_pod(third.uid()), "vm-c is gone");
    Ok(())
}

async fn admit(stage: &Stage, name: &str, resources: &[&str]) -> Result<AdmittedPod> {
    let spec = PodSpec::new("default", name).container("compute", resources.iter().map(|resource| (*resource, 1)));
    stage.kubelet()?.admit(spec).await.with_context(|| format!("{name} is not admitted"))
}

async fn start(stage: &Stage, pod: &AdmittedPod) -> Result<()> {
    let started = stage.kubelet()?.start_container(pod.uid(), "compute").await;
    started.map(drop).with_context(|| format!("the container of {} does not start", pod.spec.name))
}
