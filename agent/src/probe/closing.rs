//! Releases that have begun.
//!
//! The end of a release is the moment when the count is true. The kernel follows ten returns of one function at once, or
//! two for each CPU where that is more (kernel: `kernel/kprobes.c`, `register_kretprobe`), and leaves out the others: a
//! begin may have no end. So each begun release is looked after until its end is told or the kernel's count shows it.

use super::event::{Call, Event};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// How soon a begun release is looked at, and how seldom it is in the end.
const LOOKS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));
/// A release that takes longer than any reset: its end was missed.
const LONGEST: Duration = Duration::from_secs(30);

/// A release that has begun.
#[derive(Debug)]
struct Begun {
    event: Event,
    /// The count before it.
    count: Option<u32>,
    since: Instant,
    look: Instant,
    interval: Duration,
}

/// The releases that have begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Closing(HashMap<Call, Begun>);

/// What a look at a begun release gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The count shows that it has ended; its return was missed.
    Seen(Event),
    /// It is too long ago: its return was missed and others hold the object, or it is stuck.
    GivenUp(Event),
}

impl Closing {
    pub(super) fn begin(&mut self, call: Call, event: Event, count: Option<u32>, now: Instant) {
        let begun = Begun { event, count, since: now, look: now + LOOKS.0, interval: LOOKS.0 };
        self.0.insert(call, begun);
    }

    pub(super) fn end(&mut self, call: Call) {
        self.0.remove(&call);
    }

    /// When the next look is due.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.0.values().map(|begun| begun.look).min()
    }

    /// Looks at those that are due. `count` gives the kernel's count of an event's object, `None` when it is gone.
    pub(super) fn look<E>(
        &mut self,
        now: Instant,
        mut count: impl FnMut(&Event) -> Result<Option<u32>, E>,
    ) -> Result<Vec<Ended>, E> {
        let mut ended = Vec::new();
        let mut failure = None;
        self.0.retain(|_, begun| {
            if begun.look > now || failure.is_some() {
                return true;
            }
            let count = match count(&begun.event) {
                Ok(count) => count,
                Err(error) => {
                    failure = Some(error);
                    return true;
                }
            };
            let lowered = count.unwrap_or(0) == 0 || begun.count.is_some_and(|before| count < Some(before));
            if lowered {
                ended.push(Ended::Seen(begun.event.clone()));
                return false;
            }
            if now.duration_since(begun.since) > LONGEST {
                ended.push(Ended::GivenUp(begun.event.clone()));
                return false;
            }
            begun.interval = (begun.interval * 2).min(LOOKS.1);
            begun.look = now + begun.interval;
            true
        });
        failure.map_or(Ok(ended), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{EventKind, Object, Process};
    use std::convert::Infallible;

    const CALL: Call = (0x1000, 7);

    fn event() -> Event {
        Event {
            at_boot_ns: 1,
            kind: EventKind::DeviceClosed,
            object: Object { key: 0x1000, ..Object::of_device(None, Some(3)) },
            process: Process { pid: 7, start_ns: None, command: "qemu".into(), cgroup_id: 0 },
            open_count: Some(1),
        }
    }

    fn begun(count: u32) -> (Closing, Instant) {
        let (mut closing, now) = (Closing::default(), Instant::now());
        closing.begin(CALL, event(), Some(count), now);
        (closing, now)
    }

    fn looked(closing: &mut Closing, at: Instant, count: Option<u32>) -> Vec<Ended> {
        closing.look(at, |_| Ok::<_, Infallible>(count)).unwrap()
    }

    #[test]
    fn a_release_whose_end_is_told_needs_no_look() {
        let (mut closing, _) = begun(1);
        closing.end(CALL);
        assert_eq!(closing.next_look(), None);
    }

    #[test]
    fn a_missed_end_is_seen_in_the_count() {
        for count in [Some(0), None] {
            let (mut closing, now) = begun(1);
            assert_eq!(looked(&mut closing, now, count), [], "not before it is due");
            let due = closing.next_look().unwrap();
            assert_eq!(looked(&mut closing, due, count), [Ended::Seen(event())]);
            assert_eq!(closing.next_look(), None);
        }
        let (mut closing, _) = begun(2);
        let due = closing.next_look().unwrap();
        assert_eq!(looked(&mut closing, due, Some(1)), [Ended::Seen(event())], "one of two");
    }

    #[test]
    fn a_reset_that_takes_long_is_waited_for_with_fewer_looks() {
        let (mut closing, begin) = begun(1);
        let mut looks = 0;
        while let Some(due) = closing.next_look().filter(|due| *due < begin + Duration::from_secs(10)) {
            assert_eq!(looked(&mut closing, due, Some(1)), []);
            looks += 1;
        }
        assert!((50..70).contains(&looks), "{looks}");
        assert_eq!(looked(&mut closing, begin + LONGEST * 2, Some(1)), [Ended::GivenUp(event())]);
    }

    #[test]
    fn a_look_that_fails_is_made_again() {
        let (mut closing, _) = begun(1);
        let due = closing.next_look().unwrap();
        assert_eq!(closing.look(due, |_| Err("no")), Err("no"));
        assert_eq!(looked(&mut closing, due, Some(0)), [Ended::Seen(event())]);
    }
}
