//! Whatever is answered and read, in whatever order: nothing is freed without proof, nobody is invented.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const RESOURCES: [&str; 2] = [GPU, AUDIO];
const PODS: [(&str, &str); 3] = [("uid-a", "a"), ("uid-b", "b"), ("uid-c", "c")];
const CONTAINERS: [&str; 2] = ["init", "compute"];

#[derive(Debug, Clone)]
enum Step {
    /// Time passes.
    Wait(u64),
    /// `Allocate` is answered.
    Answer { resource: usize, device: u8 },
    /// The sources are read; the read began `ago` seconds before.
    Look { ago: u64, recorded: Option<Vec<Entry>>, listed: Option<Vec<Entry>>, up: Option<u64> },
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    pod: usize,
    container: usize,
    resource: usize,
    device: u8,
}

fn entry() -> impl Strategy<Value = Entry> {
    (0..PODS.len(), 0..CONTAINERS.len(), 0..RESOURCES.len(), 0u8..4)
        .prop_map(|(pod, container, resource, device)| Entry { pod, container, resource, device })
}

fn step() -> impl Strategy<Value = Step> {
    let entries = || prop::option::weighted(0.8, prop::collection::vec(entry(), 0..5));
    let up = prop_oneof![2 => Just(Some(3600)), 1 => (0u64..70).prop_map(Some), 1 => Just(None)];
    prop_oneof![
        2 => (1u64..20).prop_map(Step::Wait),
        2 => (0..RESOURCES.len(), 0u8..4).prop_map(|(resource, device)| Step::Answer { resource, device }),
        3 => (0u64..5, entries(), entries(), up)
            .prop_map(|(ago, recorded, listed, up)| Step::Look { ago, recorded, listed, up }),
    ]
}

fn reading(begun: Moment, recorded: Option<&[Entry]>, listed: Option<&[Entry]>, up: Option<u64>) -> Reading {
    let source = |entries: Option<&[Entry]>, by_uid: bool| match entries {
        None => Source::Unavailable("unreachable".into()),
        Some(entries) => Source::Read(
            entries
                .iter()
                .map(|entry| {
                    let (uid, name) = PODS[entry.pod];
                    let pod = if by_uid { Pod { uid: Some(uid.into()), name: None } } else { named(None, name) };
                    allocation(pod, CONTAINERS[entry.container], RESOURCES[entry.resource], function(entry.device))
                })
                .collect(),
        ),
    };
    Reading {
        begun,
        checkpoint: source(recorded, true),
        pod_resources: source(listed, false),
        kubelet_up: up.map(secs),
    }
}

type Claims = BTreeMap<(&'static str, DeviceId), Claim>;

fn claims(ledger: &Ledger) -> Claims {
    let all = RESOURCES.into_iter().flat_map(|resource| (0..4).map(move |device| (resource, function(device))));
    all.filter_map(|key| Some((key, ledger.claim(key.0, key.1)?.clone()))).collect()
}

/// Whether a source names the pair at all.
fn names(source: &Source<Vec<Allocation>>, (resource, device): (&str, DeviceId)) -> Option<bool> {
    let entries = source.read()?;
    Some(entries.iter().any(|entry| &*entry.resource == resource && entry.device == device))
}

fn check(before: &Claims, after: &Claims, reading: &Reading) -> Result<(), TestCaseError> {
    let settled = reading.kubelet_up.is_some_and(|up| up >= secs(60));
    for (&key, claim) in before {
        if after.contains_key(&key) {
            continue;
        }
        let (recorded, listed) = (names(&reading.checkpoint, key), names(&reading.pod_resources, key));
        let known = claim.is_confirmed() && settled && listed == Some(false);
        prop_assert!(!claim.is_news(reading.begun) || known, "freed too early");
        prop_assert!(listed != Some(true), "freed while the kubelet lists it");
        prop_assert!(recorded != Some(true) || (settled && listed == Some(false)), "freed while it is recorded");
        prop_assert!(recorded == Some(false) || (settled && listed == Some(false)), "freed without a source");
        prop_assert!(claim.owner().is_none() || settled, "freed by a kubelet that does not know its pods");
    }
    for (&key, claim) in after {
        let known = before.get(&key);
        let named = || {
            let sources = [&reading.checkpoint, &reading.pod_resources];
            let entries = sources.into_iter().filter_map(Source::read).flatten();
            entries.filter(move |entry| &*entry.resource == key.0 && entry.device == key.1).map(|entry| &entry.owner)
        };
        prop_assert!(known.is_some() || named().next().is_some(), "a claim that nobody mentioned");
        let Some(owner) = claim.owner() else { continue };
        let known = known.and_then(Claim::owner);
        let told = || named().chain(known);
        prop_assert!(told().any(|told| told.container == owner.container), "an invented container");
        prop_assert!(owner.pod.uid.is_none() || told().any(|told| told.pod.uid == owner.pod.uid), "an invented UID");
        prop_assert!(
            owner.pod.name.is_none() || told().any(|told| told.pod.name == owner.pod.name),
            "an invented name"
        );
        prop_assert!(Some(owner) == known || reading.begun >= claim.since, "named by a look from before the answer");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_is_freed_without_proof_and_nobody_is_invented(steps in prop::collection::vec(step(), 1..40)) {
        let (mut ledger, mut now, mut order) = (Ledger::default(), secs(10), 0);
        for step in steps {
            match step {
                Step::Wait(seconds) => now += secs(seconds),
                Step::Answer { resource, device } => {
                    order += 1;
                    grant(&mut ledger, RESOURCES[resource], function(device), now, order);
                    prop_assert_eq!(state(&ledger, RESOURCES[resource], function(device)), "pending");
                }
                Step::Look { ago, recorded, listed, up } => {
                    let reading = reading(now - secs(ago), recorded.as_deref(), listed.as_deref(), up);
                    let before = claims(&ledger);
                    let changed = ledger.observe(&reading);
                    let after = claims(&ledger);
                    check(&before, &after, &reading)?;
                    let said = |claims: &Claims, key| claims.get(&key).map(|claim: &Claim| (claim.since, claim.owner().cloned()));
                    let differs = |device| {
                        RESOURCES.iter().any(|&name| said(&before, (name, device)) != said(&after, (name, device)))
                    };
                    let expected: BTreeSet<DeviceId> = (0..4).map(function).filter(|&device| differs(device)).collect();
                    prop_assert_eq!(changed, expected);
                }
            }
            let pending = claims(&ledger).values().any(|claim| claim.owner().is_none());
            prop_assert_eq!(ledger.has_pending(), pending);
        }
        // Ten seconds later a kubelet that knows its pods says that there are none.
        ledger.observe(&reading(now + secs(10), Some(&[]), Some(&[]), Some(60)));
        prop_assert!(ledger.is_empty() && !ledger.has_pending());
    }

    #[test]
    fn of_several_pods_in_a_group_exactly_one_starts_once_all_are_named(
        granted in prop::collection::vec((0..PODS.len(), 0..RESOURCES.len(), 0u8..4), 1..6),
        since_restart in any::<bool>(),
    ) {
        // A device belongs to the pod that was given it last; a pod is admitted as a whole before the next.
        let mut owners = BTreeMap::new();
        for (pod, resource, device) in granted {
            owners.insert(device, (pod, resource));
        }
        let mut ledger = Ledger::default();
        let mut admitted: Vec<(u8, (usize, usize))> = owners.into_iter().collect();
        admitted.sort_by_key(|&(_, (pod, _))| pod);
        if !since_restart {
            for (order, &(device, (_, resource))) in (1..).zip(&admitted) {
                grant(&mut ledger, RESOURCES[resource], function(device), secs(1), order);
            }
        }
        let entries: Vec<Entry> =
            admitted.iter().map(|&(device, (pod, resource))| Entry { pod, container: 1, resource, device }).collect();
        ledger.observe(&reading(secs(2), Some(&entries), None, None));
        let group: Vec<DeviceId> = (0..4).map(function).collect();
        let starts = |pod: usize| entries.iter().filter(|entry| entry.pod == pod).all(|entry| {
            fence(&ledger, RESOURCES[entry.resource], &[function(entry.device)], |_| group.iter().copied()) == Fence::Open
        });
        let pods: BTreeSet<usize> = entries.iter().map(|entry| entry.pod).collect();
        let started: Vec<usize> = pods.iter().copied().filter(|&pod| starts(pod)).collect();
        prop_assert_eq!(started, vec![*pods.first().unwrap()]);
    }
}
