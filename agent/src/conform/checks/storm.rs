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
/// When a storm that does not get strong enough is given up.
const LONGEST: Duration = Duration::from_secs(10);

/// How strong a storm was.
pub(in crate::conform) struct Strength {
    pub(in crate::conform) changes: usize,
    pub(in crate::conform) took: Duration,
}

impl Strength {
    /// The most messages that may come of it.
    pub(in crate::conform) fn allowed(&self) -> usize {
        (BURST + RATE * self.took.as_secs_f64()).ceil() as usize
    }
}

/// Makes changes until `enough`, or until it takes too long.
pub(in crate::conform) async fn blow(
    hooks: &DeviceHooks,
    terms: &Terms,
    enough: impl Fn(&Strength) -> bool,
) -> Result<Strength, String> {
    let begun = Instant::now();
    let mut strength = Strength { changes: 0, took: Duration::ZERO };
    while !enough(&strength) && strength.took < LONGEST.min(terms.patience) {
        hooks.storm(ROUNDS).await?;
        strength = Strength { changes: strength.changes + 2 * ROUNDS, took: begun.elapsed() };
    }
    Ok(strength)
}

/// Breaks and mends a device many times, while the stream is read.
pub(in crate::conform) async fn check(
    subject: &Subject,
    device: &str,
    hooks: &DeviceHooks,
    terms: &Terms,
    book: &mut Book,
) {
    let before = subject.stream.seen().messages;
    let begun = Instant::now();
    let strength = match blow(hooks, terms, |storm| storm.changes > 2 * storm.allowed()).await {
        Ok(strength) => strength,
        Err(error) => return book.all_unchecked(GROUP.checks, &error),
    };
    let healthy = subject.stream.until(terms.patience, |seen| seen.is_healthy(device)).await;
    // A plugin that only delays its messages has sent them all by then.
    subject.stream.until_quiet(Duration::from_millis(500), terms.patience).await;
    let seen = subject.stream.seen();
    let Strength { changes, took } = strength;
    if let Some(end) = seen.ended {
        return book.fail(
            &TRUE_AFTER,
            subject.name(),
            format!("the stream ended in a storm of {changes} changes ({end})"),
        );
    }
    let settled = healthy && seen.is_healthy(device);
    book.judge(&TRUE_AFTER, subject.name(), settled, || {
        format!(
            "{device} is in order and not Healthy {} s after a storm of {changes} changes",
            terms.patience.as_secs_f32()
        )
    });
    let whole = Strength { changes, took: begun.elapsed() };
    let (messages, allowed) = (seen.messages - before, whole.allowed());
    if messages > allowed {
        let what =
            format!("{changes} changes in {:.1} s made {messages} messages, {allowed} are fair", took.as_secs_f32());
        return book.fail(&FOLDED, subject.name(), what);
    }
    if changes > 2 * whole.allowed().min(strength_allowed(changes, took)) {
        book.pass(&FOLDED);
    } else {
        book.unchecked(&FOLDED, weak(changes, took));
    }
}

fn strength_allowed(changes: usize, took: Duration) -> usize {
    Strength { changes, took }.allowed()
}

/// Why nothing can be said after so few changes.
pub(in crate::conform) fn weak(changes: usize, took: Duration) -> String {
    format!("--break and --mend made only {changes} changes in {:.1} s, which is no storm", took.as_secs_f32())
}
