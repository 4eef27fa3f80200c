use super::*;
use crate::probe::{Census, Hidden, Opening as SeenOpening, Process as SeenProcess, Source};
use std::time::{Duration, UNIX_EPOCH};
use vfiod_core::holding::Place;

const DEVICE: &str = "0000:3b:00.0";

fn seen() -> Seen {
    Seen::of_device(Some(DEVICE.parse().unwrap()), Some(12))
}

fn object() -> Object {
    Object::Device(DEVICE.parse().unwrap())
}

fn process(pid: u32) -> Arc<Process> {
    Arc::new(Process { pid, started: None, command: "qemu".into(), place: Some(Place::default()) })
}

/// What a look at the kernel's tables finds: which processes show the device, and how often it is open.
fn taken(pids: &[u32], count: u32) -> Taken {
    let openings = pids.iter().map(|&pid| SeenOpening {
        object: seen(),
        process: SeenProcess { pid, start_ns: None, command: "qemu".into(), cgroup_id: 0 },
        fds: 1,
        open_count: Some(count),
    });
    let hidden = if pids.is_empty() && count > 0 {
        vec![Hidden { object: seen(), open_count: count, visible: 0 }]
    } else {
        Vec::new()
    };
    let census = Census { source: Source::Kernel, openings: openings.collect(), hidden, unreadable: 0 };
    Taken { census, processes: pids.iter().map(|&pid| process(pid)).collect() }
}

fn at(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs)
}

fn pids(tracker: &Tracker) -> Vec<u32> {
    tracker.all().flat_map(|(_, held)| held.by).map(|opening| opening.process.pid).collect()
}

#[test]
fn an_event_that_explains_the_count_needs_no_look() {
    let mut tracker = Tracker::default();
    tracker.census(&taken(&[], 0), at(0));
    let (named, held, look) = tracker.opened(&seen(), &process(7), Some(1), at(5)).unwrap();
    assert_eq!((named, held.count, look), (object(), Some(1), false));
    assert_eq!(tracker.since(object(), 7), Some(at(5)));
    let (_, held, look) = tracker.closed(&seen(), Some(0)).unwrap();
    assert!(!held.is_open() && !look);
    assert_eq!(tracker.since(object(), 7), None);
}

#[test]
fn a_count_that_events_do_not_explain_asks_for_a_look() {
    let mut tracker = Tracker::default();
    let (.., look) = tracker.opened(&seen(), &process(7), Some(2), at(5)).unwrap();
    assert!(look, "an open was missed");
    let (_, held, look) = tracker.closed(&seen(), Some(1)).unwrap();
    assert!(held.is_open() && look, "whose file is left?");
    tracker.census_begins();
    assert!(!tracker.census(&taken(&[8], 1), at(6)));
    assert_eq!(pids(&tracker), [8]);
}

#[test]
fn an_unknown_process_asks_for_a_look() {
    let mut tracker = Tracker::default();
    let stranger = Arc::new(Process { place: None, ..Process::clone(&process(7)) });
    let (.., look) = tracker.opened(&seen(), &stranger, Some(1), at(5)).unwrap();
    assert!(look);
}

#[test]
fn a_census_that_an_event_overtook_leaves_that_object_alone() {
    for closes in [true, false] {
        let mut tracker = Tracker::default();
        tracker.census(&taken(if closes { &[7] } else { &[] }, u32::from(closes)), at(0));
        tracker.census_begins();
        if closes {
            tracker.closed(&seen(), Some(0));
        } else {
            tracker.opened(&seen(), &process(7), Some(1), at(1));
        }
        // What was read before the event, and comes after it.
        assert!(tracker.census(&taken(if closes { &[7] } else { &[] }, u32::from(closes)), at(2)), "look again");
        assert_eq!(pids(&tracker).is_empty(), closes);
        tracker.census_begins();
        assert!(!tracker.census(&taken(if closes { &[] } else { &[7] }, u32::from(!closes)), at(3)));
        assert_eq!(pids(&tracker).is_empty(), closes);
    }
}

#[test]
fn what_was_open_at_the_first_look_has_no_beginning() {
    let mut tracker = Tracker::default();
    tracker.census(&taken(&[7], 1), at(10));
    assert_eq!(tracker.since(object(), 7), None);
    tracker.census(&taken(&[7, 8], 2), at(20));
    assert_eq!((tracker.since(object(), 7), tracker.since(object(), 8)), (Some(at(20)), Some(at(20))));
}

#[test]
fn a_file_that_nobody_shows_is_open_all_the_same() {
    let mut tracker = Tracker::default();
    tracker.census(&taken(&[], 1), at(0));
    let (_, held) = tracker.all().next().unwrap();
    assert!(held.is_open() && held.by.is_empty());
}

#[test]
fn a_device_that_cannot_be_named_stands_for_its_group() {
    assert_eq!(named(&Seen::of_device(None, Some(12))), Some(Object::Group(12)));
    assert_eq!(named(&Seen::of_group(12)), Some(Object::Group(12)));
    assert_eq!(named(&Seen::of_device(None, None)), None);
}
