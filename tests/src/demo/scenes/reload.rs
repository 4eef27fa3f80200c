//! The configuration changes, and only what changed is touched.

use crate::demo::{
    figures::time,
    host::{ADDED, AUDIO, QUADRO, extended},
    stage::Stage,
};
use anyhow::{Result, ensure};
use std::time::Duration;
use vfiod_simulator::kubelet::State;

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    stage.page.scene("The configuration changes while everything runs")?;
    stage
        .page
        .say("The host also has a card with a GPU and an audio controller. Two entries are added to permit.yaml:")?;
    stage.page.blank()?;
    stage.page.quote(ADDED)?;
    stage.page.blank()?;
    let served = stage.counts.served();
    let traffic = move |state: &State| {
        served.map(|(resource, _)| (state.registrations(resource), state.listings(resource).len()))
    };
    let before = stage.kubelet()?.look(traffic);
    let begun = stage.configure(&extended())?;
    let mut slowest = Duration::ZERO;
    for resource in [QUADRO, AUDIO] {
        let listing =
            stage.received(&format!("{resource} has its device"), resource, 0, |list| list.healthy == 1).await?;
        slowest = slowest.max(listing.received.duration_since(begun));
    }
    let after = stage.kubelet()?.look(traffic);
    ensure!(before == after, "resources that did not change were touched: {before:?} became {after:?}");
    stage.page.say(&format!(
        "Both are registered and have their device {} after the file was replaced. The other resources were sent nothing: same \
         connections, same lists.",
        time(slowest)
    ))?;
    stage.note("configuration changed: 2 resources added", time(slowest));
    Ok(())
}
