//! What many changes in a short time become.

use crate::conform::{
    book::Book,
    check::{Check, Group, Needs},
    hooks::DeviceHooks,
    subject::{Subject, Terms},
};
use std::time::Duration;
use tokio::time::Instant;

/// The checks of this file.
pub const GROUP: Group =
    Group { name: "storm", about: "what many changes in a short time become", checks: &[&FOLDED, &TRUE_AFTER] };

/// Messages are bounded.
pub static FOLDED: Check = Check {
    name: "storm.folded",
    title: "many changes in a short time are folded: at most 100 messages at once, and 20 a second",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, genericDeviceUpdateCallback: each message writes the checkpoint, with fsync, under the lock of admission",
    consequence: "A loose cable or a driver that resets makes the kubelet of the whole node slow: pods of all kinds start late.",
    needs: Needs::Hooks,
};

/// The end is true.
pub static TRUE_AFTER: Check = Check {
    name: "storm.true-after",
    title: "after the storm the list says what is",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, genericDeviceUpdateCallback: the last message counts",
    consequence: "A device that is in order stays Unhealthy until something else changes.",
    needs: Needs::Hooks,
};

/// Messages that may come back to back, and how many a second after that.
const BURST: f64 = 100.0;
const RATE: f64 = 20.0;
/// Rounds of one shell: two changes each.
const ROUNDS: usize = 25;
/// How long no message must come for the storm to be over.
const QUIET: Duration = Duration::from_millis(500);
/// Commands that are slower than this, in changes a second, after this long, make no storm: messages could keep up with it.
const SLOWEST: f64 = 2.5 * RATE;
const TRIED: Duration = Duration::from_secs(3);

/// How strong a storm was.
pub(in crate::conform) struct Storm {
    pub(in crate::conform) changes: usize,
    pub(in crate::conform) took: Duration,
    /// It was as strong as it should be.
    pub(in crate::conform) strong: bool,
}

impl Storm {
    /// Why nothing can be said after a weak one.
    pub(in crate::conform) fn weakness(&self) -> String {
        let seconds = self.took.as_secs_f32();
        format!("--break and --mend made only {} changes in {seconds:.1} s, which is no storm", self.changes)
    }
}

/// The most messages that are fair in so long a time.
pub(in crate::conform) fn allowed(time: Duration) -> usize {
    (BURST + RATE * time.as_secs_f64()).ceil() as usize
}

/// Makes changes until they are `enough`, or it is hopeless.
pub(in crate::conform) async fn blow(
    hooks: &DeviceHooks,
    terms: &Terms,
    enough: impl Fn(usize, Duration) -> bool,
) -> Result<Storm, String> {
    let begun = Instant::now();
    let mut changes = 0;
    loop {
        hooks.storm(ROUNDS).await?;
        changes += 2 * ROUNDS;
        let took = begun.elapsed();
        let strong = enough(changes, took);
        let hopeless = took > TRIED && (changes as f64) < SLOWEST * took.as_secs_f64();
        if strong || hopeless || took > terms.patience {
            return Ok(Storm { changes, took, strong });
        }
    }
}

/// Breaks and mends a device many times, while the stream is read.
pub(in crate::conform) async fn check(
    subject: &Subject,
    device: &str,
    hooks: &DeviceHooks,
    terms: &Terms,
    book: &mut Book,
) {
    let name = subject.name();
    let before = subject.stream.seen().messages;
    let begun = Instant::now();
    let storm = match blow(hooks, terms, |changes, took| changes > 2 * allowed(took)).await {
        Ok(storm) => storm,
        Err(error) => return book.all_unchecked(GROUP.checks, &error),
    };
    let healthy = subject.stream.until(terms.patience, |seen| seen.is_healthy(device)).await;
    // A plugin that only delays its messages has sent them all by then.
    subject.stream.until_quiet(QUIET, terms.patience).await;
    let seen = subject.stream.seen();
    let Storm { changes, took, strong } = storm;
    if let Some(end) = seen.ended {
        return book.fail(&TRUE_AFTER, name, format!("the stream ended in a storm of {changes} changes ({end})"));
    }
    book.judge(&TRUE_AFTER, name, healthy && seen.is_healthy(device), || {
        let seconds = terms.patience.as_secs_f32();
        format!("{device} is in order and not Healthy {seconds} s after a storm of {changes} changes")
    });
    let (messages, fair) = (seen.messages - before, allowed(begun.elapsed()));
    match (messages > fair, strong) {
        (true, _) => {
            let seconds = took.as_secs_f32();
            let what = format!("{changes} changes in {seconds:.1} s made {messages} messages, {fair} are fair");
            book.fail(&FOLDED, name, what);
        }
        (false, true) => book.pass(&FOLDED),
        (false, false) => book.unchecked(&FOLDED, storm.weakness()),
    }
}
