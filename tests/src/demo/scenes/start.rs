//! vfiod starts, and the node has capacity.

use crate::demo::{
    figures::{bytes, count, time},
    host::QUADRO,
    page::Side,
    stage::{PERMIT, Stage},
};
use anyhow::{Result, ensure};
use std::time::Duration;

/// vfiod believes that a device was released only from a kubelet that has been up for a minute.
const KUBELET_AGE: Duration = Duration::from_secs(120);

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    stage.page.scene("vfiod starts, and the node has capacity")?;
    let counts = stage.counts;
    let built = stage.build_node()?;
    stage.page.say(&format!(
        "The host, laid out in {}: {} T4s and {} QATs on vfio-pci; {} more T4s on the nvidia driver, which carry {} \
         vGPUs; a card that nobody has permitted yet.",
        time(built),
        count(counts.t4),
        count(counts.qat),
        count(counts.parents),
        count(counts.vgpu)
    ))?;
    stage.start_kubelet(KUBELET_AGE).await?;
    stage.page.blank()?;
    stage.page.command(&format!("vfiod run --config {PERMIT} --host-root host --kubelet-dir kubelet"))?;
    stage.page.blank()?;
    let begun = stage.start_agent()?;
    let mut rows = Vec::new();
    let mut slowest = Duration::ZERO;
    for (resource, devices) in counts.served() {
        let what = format!("{resource} has its {devices} devices");
        let full = stage.received(&what, resource, 0, |listing| listing.healthy == devices).await?;
        let took = full.received.duration_since(begun);
        slowest = slowest.max(took);
        let (capacity, allocatable, messages) = stage
            .kubelet()?
            .look(|state| (state.capacity(resource), state.allocatable(resource), state.listings(resource).len()));
        ensure!(capacity == devices && allocatable == devices, "{resource}: {allocatable} of {capacity} allocatable");
        ensure!(messages == 1, "{resource}: the first list should have been the full one, and {messages} came");
        rows.push([resource.to_owned(), count(capacity), count(allocatable), bytes(full.bytes), time(took)]);
    }
    let absent = stage.kubelet()?.look(|state| !state.has_resource(QUADRO));
    ensure!(absent, "{QUADRO} is not permitted and yet served");
    let (left, right) = (Side::Left, Side::Right);
    let head = ["resource", "capacity", "allocatable", "list", "after start"];
    stage.page.table([left, right, right, right, right], head, &rows)?;
    stage.page.blank()?;
    stage.page.say(
        "\"after start\": from the start of the process until the kubelet has the resource's full list, which is the \
         first one that it is sent. vfiod looks at the whole host before it registers.",
    )?;
    stage.note("vfiod starts: full list of every resource", slowest);
    Ok(())
}
