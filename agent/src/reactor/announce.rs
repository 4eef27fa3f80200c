//! The log of what a settling changed.

use tracing::{error, info, warn};
use vfiod_core::{
    events::{Kind, kind_of},
    health::{Health, Reason, Verdict},
    inventory::{Outcome, Transition},
};

/// Lines for single devices in one settling; the rest is counted.
const LINES: usize = 20;

/// Logs what became different.
pub(super) fn announce(outcome: &Outcome) {
    let mut lines = 0;
    for transition in outcome.transitions.iter().filter(|transition| is_news(transition)) {
        lines += 1;
        if lines <= LINES {
            say(transition);
        }
    }
    if lines > LINES {
        warn!("and {} more devices changed at the same moment", lines - LINES);
    }
    for overflow in &outcome.overflows {
        error!(
            event = Kind::ListTooLong.reason(),
            resource = %overflow.resource,
            "the kubelet receives at most 4 MiB: {} devices are listed, {} do not fit and are left out; spread them over several resource names",
            overflow.listed, overflow.left_out
        );
    }
    for resource in &outcome.closed {
        info!(resource = %resource.name(), "no longer permitted, and nothing of it is in use: its endpoint ends");
    }
}

/// Whether somebody reading the log at its usual level wants to know.
fn is_news(transition: &Transition) -> bool {
    match (&transition.before, &transition.now) {
        (Some(before), Some(now)) => {
            let another_reason = now.health == Health::Unhealthy && before.reason.code() != now.reason.code();
            let got_stuck = is_stuck(now) && !is_stuck(before);
            before.health != now.health || another_reason || got_stuck || is_warning(now) || is_warning(before)
        }
        (None, Some(now)) => now.health == Health::Unhealthy || is_warning(now),
        (_, None) => true,
    }
}

/// A device that a process of a pod that is gone does not let go.
const fn is_stuck(verdict: &Verdict) -> bool {
    matches!(&verdict.reason, Reason::Held(holder) if holder.stuck)
}

/// A device that stays healthy because somebody owns it, though something is wrong.
const fn is_warning(verdict: &Verdict) -> bool {
    matches!(verdict.health, Health::Healthy)
        && matches!(verdict.reason, Reason::NotViable(..) | Reason::NoIommu(_) | Reason::Held(_))
}

fn say(transition: &Transition) {
    let Transition { resource, device, now, .. } = transition;
    match now {
        None => info!(%resource, %device, "no longer listed"),
        Some(verdict) if verdict.health == Health::Healthy && !is_warning(verdict) => {
            let event = kind_of(transition).map(Kind::reason);
            info!(%resource, %device, reason = verdict.reason.code(), event, "Healthy: {}", verdict.reason);
        }
        Some(verdict) => {
            let remedy = verdict.reason.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
            let event = kind_of(transition).map(Kind::reason);
            let Verdict { health, reason } = verdict;
            warn!(%resource, %device, reason = reason.code(), event, "{health}: {reason}{remedy}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vfiod_core::health::Holder;

    fn held(health: Health, stuck: bool) -> Verdict {
        Verdict { health, reason: Reason::Held(Holder { through: None, process: None, stuck }) }
    }

    fn news(before: Verdict, now: Verdict) -> bool {
        let resource = "a.com/gpu".parse().unwrap();
        let device = "0000:3b:00.0".parse().unwrap();
        is_news(&Transition { resource, device, before: Some(before), now: Some(now) })
    }

    #[test]
    fn a_holder_is_told_once_and_once_more_when_it_is_stuck() {
        let ready = || Verdict { health: Health::Healthy, reason: Reason::Ready };
        assert!(news(ready(), held(Health::Unhealthy, false)));
        assert!(!news(held(Health::Unhealthy, false), held(Health::Unhealthy, false)));
        assert!(news(held(Health::Unhealthy, false), held(Health::Unhealthy, true)));
        assert!(news(ready(), held(Health::Healthy, false)), "a stranger in an owned device");
    }
}
