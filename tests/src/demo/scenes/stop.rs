//! vfiod is replaced, as in a rolling update.

use crate::demo::{
    figures::{count, time},
    host::T4,
    stage::Stage,
};
use anyhow::{Result, ensure};
use std::time::Duration;
use vfiod_simulator::kubelet::{AdmittedPod, Health};

pub(super) async fn play(stage: &mut Stage, pod: &AdmittedPod) -> Result<()> {
    stage.page.scene("vfiod is stopped and started again, as in an update")?;
    let served = stage.counts.served();
    let ended = stage.end_agent()?;
    stage.wait_for("the streams have ended", |state| served.iter().all(|(name, _)| !state.is_connected(name))).await?;
    let (capacity, allocatable) = stage.kubelet()?.look(|state| (state.capacity(T4), state.allocatable(T4)));
    ensure!((capacity, allocatable) == (stage.counts.t4, 0), "{allocatable} of {capacity} after the end");
    stage.page.say(&format!(
        "SIGTERM: vfiod ends after {} with exit code 0. The node keeps its capacity of {} T4s (a kubelet gives a plugin five minutes \
         to come back); {allocatable} are allocatable meanwhile.",
        time(ended),
        count(capacity)
    ))?;
    let skip = served.map(|(name, _)| stage.kubelet().map(|kubelet| kubelet.watch(name).len()));
    let begun = stage.start_agent()?;
    let mut slowest = Duration::ZERO;
    for ((resource, devices), skip) in served.into_iter().zip(skip) {
        let skip = skip?;
        let first = stage.received(&format!("{resource} is listed again"), resource, skip, |_| true).await?;
        ensure!(first.healthy == devices, "{resource}: the first list has {} healthy of {devices}", first.healthy);
        slowest = slowest.max(first.received.duration_since(begun));
    }
    let status = stage.kubelet()?.look(|state| state.pod_status(pod.uid()));
    ensure!(
        status.len() == 3 && status.values().all(|health| *health == Health::Healthy),
        "the pod's devices: {status:?}"
    );
    stage.page.say(&format!(
        "A new vfiod has listed every device {} after its start, the pod's three among them: devices in use count as Healthy from the \
         first list on.",
        time(slowest)
    ))?;
    stage.note("SIGTERM: vfiod has ended, capacity kept", time(ended));
    stage.note("new vfiod: every device listed", time(slowest));
    Ok(())
}
