//! What a cluster is told, and how often.

use super::*;
use crate::{
    device::{DeviceId, Obstacle},
    health::{Health, Holder, Reason, Verdict},
    inventory::{Outcome, Overflow, Transition},
    ownership::{Moment, Owner, Pod},
};
use proptest::prelude::*;
use std::time::Duration;

fn device(n: u8) -> DeviceId {
    format!("0000:{n:02x}:00.0").parse().unwrap()
}

fn verdict(health: Health, reason: Reason) -> Option<Verdict> {
    Some(Verdict { health, reason })
}

fn ready() -> Option<Verdict> {
    verdict(Health::Healthy, Reason::Ready)
}

fn unhealthy(reason: Reason) -> Option<Verdict> {
    verdict(Health::Unhealthy, reason)
}

fn held(stuck: bool) -> Reason {
    Reason::Held(Holder { through: None, process: None, stuck })
}

fn transition(n: u8, before: Option<Verdict>, now: Option<Verdict>) -> Transition {
    Transition { resource: "a.com/gpu".parse().unwrap(), device: device(n), before, now }
}

fn told(transitions: Vec<Transition>) -> Vec<Occurrence> {
    occurrences(&Outcome { transitions, ..Outcome::default() }, |_, _| None)
}

fn kinds(before: Option<Verdict>, now: Option<Verdict>) -> Vec<Kind> {
    told(vec![transition(1, before, now)]).into_iter().map(|occurrence| occurrence.kind).collect()
}

fn secs(n: u64) -> Moment {
    Duration::from_secs(n)
}

#[test]
fn a_device_that_breaks_and_recovers_is_told_of_twice() {
    for (reason, kind) in [
        (Reason::Removed, Kind::DeviceUnhealthy),
        (Reason::HostDriver("nvidia".into()), Kind::DeviceUnhealthy),
        (Reason::NodeMissing("/dev/vfio/1".into()), Kind::DeviceUnhealthy),
        (held(false), Kind::ForeignHolder),
        (held(true), Kind::StuckHolder),
        (Reason::AerFatal, Kind::PciFatalError),
    ] {
        assert_eq!(kinds(ready(), unhealthy(reason.clone())), [kind]);
        assert_eq!(kinds(None, unhealthy(reason.clone())), [kind], "found so at the start");
        assert_eq!(kinds(unhealthy(reason.clone()), ready()), [Kind::DeviceRecovered]);
        assert_eq!(kinds(unhealthy(reason.clone()), unhealthy(reason.clone())), []);
        assert_eq!(kinds(unhealthy(reason), None), []);
    }
}

#[test]
fn the_usual_course_of_things_is_no_news() {
    let in_use =
        Reason::GroupInUse { group: Some(1), device: device(2), resource: "a.com/x".into(), owner: None, proved: true };
    for reason in [in_use, Reason::Cordoned, Reason::Settling] {
        assert_eq!(kinds(ready(), unhealthy(reason.clone())), []);
        assert_eq!(kinds(unhealthy(reason), ready()), []);
    }
    assert_eq!(kinds(None, ready()), []);
    assert_eq!(kinds(ready(), verdict(Health::Healthy, Reason::Claimed)), []);
}

#[test]
fn what_concerns_a_pod_names_it_though_the_device_stays_healthy() {
    let owner =
        Owner { pod: Pod { uid: Some("u".into()), name: Some(("vms".into(), "vm".into())) }, container: "c".into() };
    let outcome = Outcome {
        transitions: vec![transition(1, ready(), verdict(Health::Healthy, held(false)))],
        ..Outcome::default()
    };
    let told = occurrences(&outcome, |_, _| Some(owner.clone()));
    assert_eq!((told.len(), told[0].kind, told[0].pod.as_ref()), (1, Kind::ForeignHolder, Some(&owner.pod)));
    let nameless = Owner { pod: Pod { uid: Some("u".into()), name: None }, ..owner };
    assert_eq!(occurrences(&outcome, |_, _| Some(nameless.clone()))[0].pod, None, "an Event needs a name");
}

#[test]
fn a_group_is_told_of_once_and_a_crowd_together() {
    let obstacle = || Obstacle { member: "0000:00:01.0".into(), driver: "snd".into() };
    let group = |n| transition(n, ready(), unhealthy(Reason::NotViable(7, obstacle())));
    let together = told(vec![group(1), group(2)]);
    assert_eq!((together.len(), &together[0].subject), (1, &Subject::Group(7)));
    let crowd = told((0..9).map(|n| transition(n, ready(), unhealthy(Reason::Removed))).collect());
    assert_eq!((crowd.len(), &crowd[0].subject), (1, &Subject::Node));
    assert!(crowd[0].note.starts_with("9 at once: 0000:00:00.0 (a.com/gpu)"), "{}", crowd[0].note);
    assert_eq!(told((0..5).map(|n| transition(n, ready(), unhealthy(Reason::Removed))).collect()).len(), 5);
}

#[test]
fn a_list_that_is_too_long_is_told_with_its_numbers() {
    let overflow = Overflow { resource: "a.com/gpu".parse().unwrap(), listed: 10, left_out: 3 };
    let told = occurrences(&Outcome { overflows: vec![overflow], ..Outcome::default() }, |_, _| None);
    assert!(told[0].kind == Kind::ListTooLong && told[0].note.contains("10") && told[0].note.contains('3'));
}

#[test]
fn every_kind_is_documented_under_its_name() {
    let document = include_str!("../../../docs/EVENTS.md");
    for kind in Kind::ALL {
        let kind_of_event = if kind.is_warning() { "Warning" } else { "Normal" };
        let row = format!("| `{}` | {kind_of_event} |", kind.reason());
        assert!(document.contains(&row), "docs/EVENTS.md lacks {row}");
    }
}

fn occurrence(n: u8, kind: Kind) -> Occurrence {
    Occurrence { kind, subject: Subject::Device(device(n)), note: "note".into(), pod: None }
}

#[test]
fn repetitions_become_a_series_that_is_written_rarely() {
    let mut journal = Journal::default();
    let happen = |journal: &mut Journal, at| journal.take(occurrence(1, Kind::DeviceUnhealthy), secs(at));
    assert!(matches!(happen(&mut journal, 0), Some(Post::Create { series: 1, .. })));
    assert_eq!((happen(&mut journal, 1), happen(&mut journal, 29)), (None, None));
    assert_eq!(journal.next(), Some(secs(30)));
    assert!(matches!(journal.due(secs(30)).as_slice(), [Post::Repeat { series: 1, count: 3, .. }]));
    assert_eq!((journal.next(), journal.due(secs(90)).len()), (None, 0));
    assert!(matches!(happen(&mut journal, 100), Some(Post::Repeat { count: 4, .. })));
    assert!(matches!(happen(&mut journal, 100 + 361), Some(Post::Create { series: 2, .. })), "a new series");
}

#[test]
fn a_flood_is_cut_off_and_counted() {
    let mut journal = Journal::default();
    let created = (0..100).filter(|&n| journal.take(occurrence(n, Kind::ForeignHolder), secs(1)).is_some()).count();
    assert_eq!((created, journal.dropped()), (25, 75));
    assert!(journal.take(occurrence(200, Kind::ForeignHolder), secs(12)).is_some(), "there is room again");
    assert!(journal.take(occurrence(201, Kind::ForeignHolder), secs(12)).is_none());
}

proptest! {
    /// Whatever happens: never more than the limits say, and nothing that is told is lost from its series.
    #[test]
    fn the_limits_hold_and_every_repetition_is_counted(
        steps in prop::collection::vec((0..40u8, 0..20u64), 1..300),
    ) {
        let mut journal = Journal::default();
        let mut now = secs(0);
        let mut happened: std::collections::HashMap<u8, u32> = Default::default();
        let (mut creations, mut writes) = (0u64, std::collections::HashMap::<u64, Moment>::new());
        let mut counts = std::collections::HashMap::<u64, u32>::new();
        for (n, pause) in steps {
            now += secs(pause);
            let mut posts = journal.due(now);
            *happened.entry(n).or_default() += 1;
            posts.extend(journal.take(occurrence(n, Kind::DeviceUnhealthy), now));
            for post in posts {
                match post {
                    Post::Create { series, .. } => {
                        creations += 1;
                        prop_assert!(writes.insert(series, now).is_none(), "a number is given once");
                        counts.insert(series, 1);
                    }
                    Post::Repeat { series, count, .. } => {
                        let last = writes.insert(series, now).unwrap();
                        prop_assert!(now - last >= secs(30));
                        prop_assert!(count > counts.insert(series, count).unwrap());
                    }
                }
            }
            prop_assert!(creations <= 25 + now.as_secs() / 10);
        }
        for post in journal.due(now + secs(60)) {
            if let Post::Repeat { series, count, .. } = post {
                counts.insert(series, count);
            }
        }
        let told: u32 = counts.values().sum();
        let all: u32 = happened.values().sum();
        prop_assert_eq!(u64::from(all), u64::from(told) + journal.dropped());
        prop_assert_eq!(journal.next(), None);
    }
}
