//! The configuration changes, and only what changed is touched.

use crate::demo::{
    figures::time,
    host::{ADDED, AUDIO, QUADRO, extended},
    stage::{PERMIT, Stage},
};
use anyhow::{Result, ensure};
use std::time::Duration;
use vfiod_simulator::kubelet::State;

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    stage.page.scene("The configuration changes while everything runs")?;
    stage.page.say(&format!("The card that nobody has permitted has two functions. Two entries more in {PERMIT}:"))?;
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
        let what = format!("{resource} has its device");
        let listing = stage.received(&what, resource, 0, |list| list.healthy == 1).await?;
        slowest = slowest.max(listing.received.duration_since(begun));
    }
    let after = stage.kubelet()?.look(traffic);
    ensure!(before == after, "resources that did not change were touched: {before:?} became {after:?}");
    stage.page.say(&format!(
        "{} after the file was replaced, both resources are registered and have their device. Nothing was sent for the \
         other three: the kubelet keeps their connections and their lists.",
        time(slowest)
    ))?;
    stage.note("configuration changed: two resources more", slowest);
    Ok(())
}
