//! What the plugin does for a kubelet that has stopped reading.

use super::storm::blow;
use crate::conform::{
    book::Book,
    check::{Check, Group, Needs},
    hooks::DeviceHooks,
    kubelet::{Stalled, Window, dial, told},
    subject::{Subject, Terms},
};
use prost::Message as _;
use std::time::Duration;
use tokio::time::sleep;

/// The checks of this file.
pub const GROUP: Group = Group {
    name: "slow",
    about: "what the plugin does for a kubelet that has stopped reading",
    checks: &[&ALLOCATE, &BACKLOG],
};

/// Calls are answered.
pub static ALLOCATE: Check = Check {
    name: "slow.allocate",
    title: "Allocate is answered while the list is not read",
    source: "kubelet: pkg/kubelet/cm/devicemanager/endpoint.go, allocate: no deadline, and one admission at a time",
    consequence: "No pod starts on the node any more, whatever it asks for, until the kubelet or the plugin is restarted.",
    needs: Needs::Socket,
};

/// Lists do not pile up.
pub static BACKLOG: Check = Check {
    name: "slow.backlog",
    title: "changes do not pile up while the list is not read",
    source: "kubelet: pkg/kubelet/cm/devicemanager/plugin/v1beta1/client.go, Run: the next message is read when the checkpoint of the last one is written",
    consequence: "The plugin grows until it is killed (OOM), and the kubelet works through old lists long after the storm.",
    needs: Needs::Hooks,
};

/// What grpc-go keeps for a stream that is not read (`internal/transport/defaults.go`, `defaultWriteQuota`: 64 KiB), and
/// some more.
const FAIR: usize = 80 * 1024;
/// How often a device is asked for, and the pauses.
const CALLS: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);
/// How long nothing must come for a backlog to be at its end.
const QUIET: Duration = Duration::from_secs(1);

/// Opens a second stream, does not read it, and asks for a device meanwhile; with `hooks` while the list changes.
pub(in crate::conform) async fn check(subject: &Subject, hooks: Option<&DeviceHooks>, terms: &Terms, book: &mut Book) {
    let name = subject.name();
    let Some(probe) = subject.probes.first() else {
        return book.all_unchecked(GROUP.checks, "Allocate gives no device");
    };
    let plugin = match dial(&subject.socket, Duration::ZERO, Window::Narrow).await {
        Ok(plugin) => plugin,
        Err(error) => return book.all_unchecked(GROUP.checks, &error.to_string()),
    };
    let stalled = match Stalled::open(&plugin, terms.patience).await {
        Ok(stalled) => stalled,
        Err(status) => {
            let why = format!("a second stream is refused: {}", told(&status));
            return book.all_unchecked(GROUP.checks, &why);
        }
    };
    let size = vfiod_proto::deviceplugin::ListAndWatchResponse { devices: subject.stream.seen().devices.to_vec() };
    let size = size.encoded_len().max(1);
    let storm = match hooks {
        Some(hooks) => Some(blow(hooks, terms, |changes, _| changes * size > 2 * fair(size)).await),
        None => None,
    };
    // More than once: the plugin may have been about to notice that nobody reads.
    let mut answer = Ok(Vec::new());
    for _ in 0..CALLS {
        answer = plugin.allocate(&[&[&probe.device]], terms.patience).await;
        if answer.is_err() {
            break;
        }
        sleep(PAUSE).await;
    }
    match answer {
        Err(status) if status.code() == tonic::Code::DeadlineExceeded => {
            book.fail(
                &ALLOCATE,
                name,
                format!(
                    "Allocate of [{}] on the connection of a stream that is not read: {}",
                    probe.device,
                    told(&status)
                ),
            );
        }
        // Whether the device may be had just now is another check.
        _ => book.pass(&ALLOCATE),
    }
    let storm = match storm {
        None => return book.unchecked(&BACKLOG, super::health::NO_HOOKS),
        Some(Err(error)) => return book.unchecked(&BACKLOG, error),
        Some(Ok(storm)) => storm,
    };
    if !storm.strong {
        return book.unchecked(&BACKLOG, storm.weakness());
    }
    let (messages, bytes) = stalled.drain(QUIET, fair(size)).await;
    book.judge(&BACKLOG, name, bytes <= fair(size), || {
        format!(
            "{} changes while the list was not read: {messages} lists, {bytes} bytes and more were kept",
            storm.changes
        )
    });
}

/// The bytes that may be on their way: what a transport keeps, and two lists.
const fn fair(size: usize) -> usize {
    FAIR + 2 * size
}
