//! The kubelet restarts and forgets every plugin.

use crate::demo::{
    figures::time,
    host::{AUDIO, QUADRO},
    stage::Stage,
};
use anyhow::{Result, ensure};
use std::time::Instant;
use vfiod_simulator::kubelet::{AdmittedPod, Health, State};

pub(super) async fn play(stage: &mut Stage, pod: &AdmittedPod) -> Result<()> {
    stage.page.scene("The kubelet restarts")?;
    let served = stage.counts.served().into_iter().chain([(QUADRO, 1), (AUDIO, 1)]);
    let served: Vec<(&str, usize)> = served.collect();
    let before: Vec<usize> =
        stage.kubelet()?.look(|state| served.iter().map(|(name, _)| state.listings(name).len()).collect());
    let begun = Instant::now();
    stage.kubelet()?.restart().await?;
    let up = begun.elapsed();
    let mut listed = begun;
    for ((resource, devices), skip) in served.iter().zip(before) {
        let all = |list: &vfiod_simulator::kubelet::Listing| list.healthy == *devices;
        let listing = stage.received(&format!("{resource} is back"), resource, skip, all).await?;
        listed = listed.max(listing.received);
    }
    let registered = |state: &State| {
        let answers =
            state.registration_log().iter().filter(|answer| answer.answered > begun && answer.outcome.is_ok());
        answers.map(|answer| answer.answered).max()
    };
    let registered = stage.kubelet()?.look(registered).unwrap_or(listed).duration_since(begun);
    let listed = listed.duration_since(begun);
    stage.page.say(&format!(
        "It wipes its plugin folder and knows no plugin any more ({} until it listens again). All {} resources are registered {} after \
         the old kubelet was killed, and all devices are listed after {}.",
        time(up),
        served.len(),
        time(registered),
        time(listed)
    ))?;
    let status = stage.kubelet()?.look(|state| state.pod_status(pod.uid()));
    ensure!(
        status.len() == 3 && status.values().all(|health| *health == Health::Healthy),
        "the pod's devices: {status:?}"
    );
    stage.page.say("The pod of scene 3 runs on; its three devices are shown Healthy.")?;
    stage.note(format!("kubelet restarted: {} resources registered again", served.len()), time(registered));
    stage.note("kubelet restarted: every device listed again", time(listed));
    Ok(())
}
