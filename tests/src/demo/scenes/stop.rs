//! vfiod is replaced, as in a rolling update.

use super::pod_is_healthy;
use crate::demo::{
    figures::{count, time},
    host::T4,
    stage::Stage,
};
use anyhow::{Result, ensure};
use std::time::Duration;
use vfiod_simulator::kubelet::{AdmittedPod, State};

pub(super) async fn play(stage: &mut Stage, pod: &AdmittedPod) -> Result<()> {
    stage.page.scene("vfiod is updated")?;
    let served = stage.counts.served();
    let ended = stage.end_agent()?;
    stage.wait_for("the streams have ended", |state| served.iter().all(|(name, _)| !state.is_connected(name))).await?;
    let (capacity, allocatable) = stage.kubelet()?.look(|state| (state.capacity(T4), state.allocatable(T4)));
    ensure!((capacity, allocatable) == (stage.counts.t4, 0), "{allocatable} of {capacity} after the end");
    stage.page.say(&format!(
        "SIGTERM: vfiod ends after {} with exit code 0, and sends no empty list. So the node keeps its capacity of {} T4s, \
         none allocatable, for the five minutes that a kubelet gives a plugin to come back.",
        time(ended),
        count(capacity)
    ))?;
    stage.page.blank()?;
    let messages = |state: &State| served.map(|(name, _)| state.listings(name).len());
    let before = stage.kubelet()?.look(messages);
    let begun = stage.start_agent()?;
    let mut slowest = Duration::ZERO;
    for ((resource, devices), skip) in served.into_iter().zip(before) {
        let first = stage.received(&format!("{resource} is listed again"), resource, skip, |_| true).await?;
        ensure!(first.healthy == devices, "{resource}: the first list has {} healthy of {devices}", first.healthy);
        slowest = slowest.max(first.received.duration_since(begun));
    }
    pod_is_healthy(stage, pod)?;
    stage.page.say(&format!(
        "A new vfiod starts: after {} the kubelet has every device again, those that the pod of scene 3 uses as Healthy as the \
         others, from the first list on.",
        time(slowest)
    ))?;
    stage.note("SIGTERM: vfiod has ended", ended);
    stage.note("new vfiod: full list of every resource", slowest);
    Ok(())
}
