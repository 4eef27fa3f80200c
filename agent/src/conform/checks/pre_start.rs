//! What `PreStartContainer` does.

use crate::conform::{
    book::Book,
    check::{Check, Group, Needs},
    kubelet::told,
    subject::{Probe, Subject, Terms},
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The checks of this file.
pub const GROUP: Group = Group { name: "pre-start", about: "what PreStartContainer does", checks: &[&STARTS] };

/// A container may start.
pub static STARTS: Check = Check {
    name: "pre-start.starts",
    title: "a plugin that requires PreStartContainer lets a container with a healthy device start",
    source: "kubelet: pkg/kubelet/cm/devicemanager/endpoint.go, preStartContainer: 30 s, and an error is tried again with the container",
    consequence: "The pod stays in PreStartHookError/CreateContainerError for ever, although its device is healthy.",
    needs: Needs::Socket,
};

/// The kubelet's deadline of one call.
const DEADLINE: Duration = Duration::from_secs(30);
/// The pause between two attempts; the kubelet's grows from there.
const PAUSE: Duration = Duration::from_millis(500);

/// Starts a container with a device that was just given, again and again as the kubelet does. Called before anything else
/// is allocated, so that no other claim is in the way.
pub(in crate::conform) async fn check(subject: &Subject, terms: &Terms, book: &mut Book) {
    if !subject.options.pre_start_required {
        return book.unchecked(&STARTS, "the plugin does not require it");
    }
    let Some(Probe { device, .. }) = subject.probes.first() else {
        return book.unchecked(&STARTS, "Allocate gives no device");
    };
    let over = Instant::now() + terms.patience;
    loop {
        match subject.plugin.pre_start(&[device], DEADLINE.min(terms.patience)).await {
            Ok(()) => return book.pass(&STARTS),
            Err(status) if Instant::now() >= over => {
                return book.fail(
                    &STARTS,
                    subject.name(),
                    format!("PreStartContainer of [{device}]: {}", told(&status)),
                );
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}
