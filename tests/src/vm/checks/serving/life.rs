//! The kubelet and vfiod end and start again.

use super::Serving;
use crate::vm::node::{EDU, EVENTUALLY};
use anyhow::{Result, ensure};

pub fn run(serving: &mut Serving<'_>) -> Result<()> {
    serving.check("vfiod registers again with a kubelet that has restarted", |guest, node| {
        let before = node.kubelet.registrations(EDU);
        node.restart_kubelet()?;
        node.wait("the resource is registered again", EVENTUALLY, |state| state.registrations(EDU) > before)?;
        node.wait_for_healthy(EDU, guest.bench.all().count(), EVENTUALLY)
    })?;
    serving.check(
        "vfiod ends while a pod has devices open, keeps their capacity, and comes back with all healthy",
        |guest, node| {
            let devices = guest.bench.all().count();
            let pod = node.run_pod("survivor", EDU, devices)?;
            let holder = pod.hold()?;
            let status = node.agent.terminate()?;
            ensure!(status.success(), "vfiod ends with {status}");
            node.wait("the stream has ended", EVENTUALLY, |state| !state.is_connected(EDU))?;
            let capacity = node.kubelet.capacity(EDU);
            ensure!(capacity == devices, "the capacity is {capacity} of {devices}");

            let messages = node.kubelet.watch(EDU).len();
            node.start_agent()?;
            node.wait("a message has come", EVENTUALLY, |state| state.listings(EDU).len() > messages)?;
            let listings = node.kubelet.watch(EDU);
            let first = listings.get(messages).map(|listing| (listing.healthy, listing.unhealthy));
            drop(holder);
            ensure!(first == Some((devices, 0)), "the first message has (healthy, not): {first:?}");
            Ok(())
        },
    )
}
