//! The kubelet restarts and forgets every plugin.

use super::pod_is_healthy;
use crate::demo::{
    figures::time,
    host::{AUDIO, QUADRO},
    stage::Stage,
};
use anyhow::Result;
use std::time::Instant;
use vfiod_simulator::kubelet::{AdmittedPod, State};

pub(super) async fn play(stage: &mut Stage, pod: &AdmittedPod) -> Result<()> {
    stage.page.scene("The kubelet restarts")?;
    let served: Vec<(&str, usize)> = stage.counts.served().into_iter().chain([(QUADRO, 1), (AUDIO, 1)]).collect();
    let messages = |state: &State| served.iter().map(|(name, _)| state.listings(name).len()).collect::<Vec<_>>();
    let before = stage.kubelet()?.look(messages);
    let begun = Instant::now();
    stage.kubelet()?.restart().await?;
    let up = begun.elapsed();
    let mut listed = begun;
    for ((resource, devices), skip) in served.iter().zip(before) {
        let what = format!("{resource} is listed again");
        let full = stage.received(&what, resource, skip, |list| list.healthy == *devices).await?;
        listed = listed.max(full.received);
    }
    let registered = |state: &State| {
        let answers = state.registration_log().iter().filter(|answer| answer.outcome.is_ok());
        answers.map(|answer| answer.answered).filter(|&answered| answered > begun).max()
    };
    let registered = stage.kubelet()?.look(registered).unwrap_or(listed).duration_since(begun);
    let listed = listed.duration_since(begun);
    pod_is_healthy(stage, pod)?;
    stage.page.say(&format!(
        "It wipes its plugin folder, knows no plugin any more, and listens again after {}. {} after its end all {} \
         resources are registered with the new one, and after {} it has every device. The pod of scene 3 keeps running.",
        time(up),
        time(registered),
        served.len(),
        time(listed)
    ))?;
    stage.note(format!("kubelet restarted: {} resources registered", served.len()), registered);
    stage.note("kubelet restarted: every device listed", listed);
    Ok(())
}
