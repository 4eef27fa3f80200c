//! What is preferred, on nodes that are built for the purpose.

use super::{super::*, *};
use crate::{
    device::{Bdf, DeviceId, GroupId},
    health::{Health, Reason, Verdict},
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const NOW: Moment = Duration::from_secs(100);

/// A resource with the devices that were put into it, at addresses that count up from 0.
#[derive(Default)]
struct Cards {
    slots: Vec<Arc<Slot>>,
    words: BTreeMap<GroupId, Arc<GroupWord>>,
}

impl Cards {
    /// A group of `members` devices on a NUMA node; returns its word.
    fn group(&mut self, numa: Option<u32>, members: usize) -> Arc<GroupWord> {
        self.put(numa, members, members == 1)
    }

    /// A device whose group has another one under another resource.
    fn with_companion(&mut self, numa: Option<u32>) -> Arc<GroupWord> {
        self.put(numa, 1, false)
    }

    fn put(&mut self, numa: Option<u32>, members: usize, lone: bool) -> Arc<GroupWord> {
        let (group, word) = (self.words.len() as GroupId, Arc::<GroupWord>::default());
        for _ in 0..members {
            let id = id(self.slots.len());
            let blueprint = Blueprint {
                id,
                numa,
                group: Some(group),
                word: Arc::clone(&word),
                lone,
                former: None,
                nodes: Vec::new(),
            };
            let verdict = Verdict { health: Health::Healthy, reason: Reason::Ready };
            self.slots.push(Arc::new(Slot::new(blueprint, verdict)));
        }
        self.words.insert(group, Arc::clone(&word));
        word
    }

    fn resource(&self) -> Resource {
        let resource = Resource::new("a.com/gpu".parse().unwrap());
        resource.set_table(Table::new(self.slots.clone()));
        resource
    }

    /// The devices that a container of `size` gets when all are offered, by their numbers.
    fn prefer(&self, size: usize) -> Vec<usize> {
        self.prefer_with(&[], size)
    }

    fn prefer_with(&self, required: &[usize], size: usize) -> Vec<usize> {
        let all: Vec<usize> = (0..self.slots.len()).collect();
        self.choose(&all, required, size)
    }

    fn choose(&self, available: &[usize], required: &[usize], size: usize) -> Vec<usize> {
        let wish = (texts(available), texts(required));
        let chosen = self.resource().prefer(Wish { available: &wish.0, required: &wish.1, size }, NOW).unwrap();
        chosen.iter().map(|text| (0..).find(|&number| id(number).to_string() == *text).unwrap()).collect()
    }
}

fn id(number: usize) -> DeviceId {
    let number = u32::try_from(number).unwrap();
    Bdf::new(number >> 8, u8::try_from(number & 0xff).unwrap(), 0, 0).unwrap().into()
}

fn texts(numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(|&number| id(number).to_string()).collect()
}

const fn ago(ms: u64) -> Moment {
    NOW.saturating_sub(Duration::from_millis(ms))
}

#[test]
fn a_lone_device_is_taken_rather_than_one_of_a_group() {
    let mut cards = Cards::default();
    cards.group(None, 2);
    cards.with_companion(None);
    cards.group(None, 1);
    assert_eq!(cards.prefer(1), [3]);
}

#[test]
fn a_lone_device_of_a_large_node_is_taken_rather_than_one_of_a_group_on_a_small_node() {
    let mut cards = Cards::default();
    cards.group(Some(0), 2);
    (0..3).for_each(|_| drop(cards.group(Some(1), 1)));
    assert_eq!(cards.prefer(1), [2]);
}

#[test]
fn whole_groups_are_taken_where_that_comes_out_even() {
    let mut cards = Cards::default();
    cards.group(None, 1); // 0
    cards.group(None, 3); // 1 2 3
    cards.group(None, 2); // 4 5
    cards.group(None, 2); // 6 7
    assert_eq!(cards.prefer(2), [4, 5]);
    assert_eq!(cards.prefer(3), [1, 2, 3]);
    assert_eq!(cards.prefer(5), [1, 2, 3, 4, 5]);
    let without_the_lone_one = [1, 2, 3, 4, 5, 6, 7];
    assert_eq!(cards.choose(&without_the_lone_one, &[], 4), [4, 5, 6, 7], "no part of a group is wasted");
}

#[test]
fn where_a_group_must_be_split_it_is_the_smallest_and_lone_devices_are_left_to_others() {
    let mut cards = Cards::default();
    cards.group(None, 4); // 0 1 2 3
    cards.group(None, 3); // 4 5 6
    cards.group(None, 1); // 7
    assert_eq!(cards.prefer(2), [4, 5]);
}

#[test]
fn one_numa_node_gives_all_where_it_can_and_the_smallest_such_node_does() {
    let mut cards = Cards::default();
    (0..2).for_each(|_| drop(cards.group(Some(0), 1))); // 0 1
    (0..8).for_each(|_| drop(cards.group(Some(1), 1))); // 2 .. 9
    (0..4).for_each(|_| drop(cards.group(None, 1))); // 10 .. 13
    assert_eq!(cards.prefer(2), [0, 1]);
    assert_eq!(cards.prefer(3), [10, 11, 12]);
    assert_eq!(cards.prefer(5), [2, 3, 4, 5, 6]);
}

#[test]
fn where_no_node_has_enough_the_largest_gives_what_it_has() {
    let mut cards = Cards::default();
    cards.group(Some(0), 1);
    (0..3).for_each(|_| drop(cards.group(Some(1), 1)));
    assert_eq!(cards.prefer(4), [1, 2, 3, 0]);
}

#[test]
fn the_node_of_a_required_device_comes_first() {
    let mut cards = Cards::default();
    (0..2).for_each(|_| drop(cards.group(Some(0), 1)));
    (0..3).for_each(|_| drop(cards.group(Some(1), 1)));
    assert_eq!(cards.prefer_with(&[4], 3), [4, 2, 3]);
}

#[test]
fn the_group_of_a_required_device_is_completed_first() {
    let mut cards = Cards::default();
    cards.group(Some(0), 1);
    cards.group(Some(1), 2);
    cards.group(Some(1), 1);
    assert_eq!(cards.prefer_with(&[2], 2), [2, 1]);
}

#[test]
fn a_group_claimed_moments_ago_is_completed_first_and_the_latest_before_others() {
    let mut cards = Cards::default();
    cards.group(None, 1);
    cards.with_companion(None).claim(ago(900));
    cards.with_companion(None).claim(ago(5));
    cards.with_companion(None).claim(ago(6));
    assert_eq!(cards.prefer(1), [2], "of another pod admitted moments ago the group is nobody else's");
    assert_eq!(cards.prefer(4), [2, 3, 1, 0]);
}

#[test]
fn a_device_whose_companion_was_claimed_long_ago_is_the_last_choice() {
    let mut cards = Cards::default();
    let word = cards.with_companion(Some(0));
    word.claim(ago(1001));
    word.settle(word.load(), ClaimState::Owned);
    cards.group(Some(1), 2);
    assert_eq!(cards.prefer(1), [1], "even at the cost of a group");
    assert_eq!(cards.prefer(3), [1, 2, 0]);
}

#[test]
fn unhealthy_devices_come_after_healthy_ones_and_refused_ones_after_them() {
    let mut cards = Cards::default();
    (0..3).for_each(|_| drop(cards.group(None, 1)));
    let unhealthy = |reason| Verdict { health: Health::Unhealthy, reason };
    cards.slots[0].decide(unhealthy(Reason::Unbound));
    cards.slots[1].decide(unhealthy(Reason::Cordoned));
    assert_eq!(cards.prefer(1), [2]);
    assert_eq!(cards.prefer(3), [2, 1, 0]);
}

#[test]
fn a_sibling_that_the_kubelet_still_offers_is_not_taken_for_a_companion() {
    let mut cards = Cards::default();
    cards.group(None, 2).claim(ago(5));
    cards.group(None, 2);
    let in_use =
        Reason::GroupInUse { group: Some(0), device: id(0), resource: "a.com/gpu".into(), owner: None, proved: false };
    cards.slots[1].decide(Verdict { health: Health::Unhealthy, reason: in_use });
    assert_eq!(cards.choose(&[1, 2, 3], &[], 1), [2], "the container that was given 0 asked only once");
}

#[test]
fn ids_that_are_not_listed_are_the_last_choice_and_no_error() {
    let mut cards = Cards::default();
    cards.group(None, 1);
    let available = ["garbage".to_owned(), id(7).to_string(), id(0).to_string()];
    let prefer =
        |required: &[String], size| cards.resource().prefer(Wish { available: &available, required, size }, NOW);
    assert_eq!(prefer(&[], 1).unwrap(), [id(0).to_string()]);
    assert_eq!(prefer(&[], 2).unwrap(), [id(0).to_string(), "garbage".to_owned()]);
    assert_eq!(prefer(&["lost".to_owned()], 2).unwrap(), ["lost".to_owned(), id(0).to_string()]);
}

#[test]
fn what_is_named_twice_counts_once() {
    let mut cards = Cards::default();
    (0..2).for_each(|_| drop(cards.group(None, 1)));
    assert_eq!(cards.choose(&[1, 1, 0], &[1, 1], 2), [1, 0]);
    let (twice, resource) = (texts(&[0, 0]), cards.resource());
    let error = resource.prefer(Wish { available: &twice, required: &[], size: 2 }, NOW).unwrap_err();
    assert_eq!(error.to_string(), "2 devices are asked for, but only 1 are offered");
}

#[test]
fn a_wish_that_contradicts_itself_is_refused_with_the_numbers() {
    let cards = Cards::default();
    let two = texts(&[0, 1]);
    let error = cards.resource().prefer(Wish { available: &[], required: &two, size: 1 }, NOW).unwrap_err();
    assert_eq!(error.to_string(), "2 devices must be included, but only 1 are asked for");
}

#[test]
fn a_large_node_is_advised_whatever_is_asked_for() {
    let mut cards = Cards::default();
    for number in 0..2048 {
        cards.group(Some(number % 8), 1 + usize::try_from(number).unwrap() % 3);
    }
    let (resource, available) = (cards.resource(), texts(&(0..cards.slots.len()).collect::<Vec<_>>()));
    assert!(available.len() > 4000);
    for size in [1, 8, 500, 4000] {
        let chosen = resource.prefer(Wish { available: &available, required: &[], size }, NOW).unwrap();
        assert_eq!(chosen.len(), size);
    }
}

/// One group: its NUMA node, how many members are offered, and how long ago it was claimed.
type Shape = (Option<u32>, usize, Option<u64>);

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let claimed = prop_oneof![4 => Just(None), 1 => (0u64..1000).prop_map(Some), 1 => (1001u64..5000).prop_map(Some)];
    prop::collection::vec((prop::option::of(0u32..3), 1usize..5, claimed), 1..7)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn advice_keeps_the_rules_of_groups(
        shapes in shapes(),
        size in 1usize..12,
        wanted in prop::collection::vec(0usize..24, 0..3),
        seed in any::<u64>(),
    ) {
        let mut cards = Cards::default();
        let mut groups: Vec<(Shape, Vec<usize>)> = Vec::new();
        for &shape in &shapes {
            let (numa, members, claimed) = shape;
            let first = cards.slots.len();
            let word = cards.group(numa, members);
            if let Some(ms) = claimed {
                word.claim(ago(ms));
            }
            groups.push((shape, (first..first + members).collect()));
        }
        let count = cards.slots.len();
        let size = size.min(count);
        let required: BTreeSet<usize> = wanted.into_iter().filter(|&number| number < count).take(size).collect();
        let required: Vec<usize> = required.into_iter().collect();
        let mut available: Vec<usize> = (0..count).collect();
        available.sort_by_key(|number| (*number as u64).wrapping_mul(seed | 1)); // any order
        let chosen = cards.choose(&available, &required, size);

        // Everything required, exactly as many as asked for, each once.
        prop_assert!(chosen.starts_with(&required));
        prop_assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), size);
        prop_assert_eq!(chosen.len(), size);
        prop_assert_eq!(&cards.prefer_with(&required, size), &chosen, "the order of the offer counts");

        // Companions before idle devices before those of strangers.
        let rank = |number: usize| {
            let ((_, _, claimed), members) = groups.iter().find(|(_, members)| members.contains(&number)).unwrap();
            match claimed {
                _ if members.iter().any(|member| required.contains(member)) => 0,
                Some(ms) if *ms <= 1000 => 0,
                None => 1,
                Some(_) => 2,
            }
        };
        let picked = &chosen[required.len()..];
        prop_assert!(picked.windows(2).all(|pair| rank(pair[0]) <= rank(pair[1])));
        let left = (0..count).filter(|number| !chosen.contains(number)).map(rank).min();
        prop_assert!(picked.iter().all(|&number| Some(rank(number)) <= left || left.is_none()));

        // The idle ones come from one node where one can give them all, and from no group in part where it need not be.
        let idle: Vec<usize> = picked.iter().copied().filter(|&number| rank(number) == 1).collect();
        let unbiased = picked.len() == idle.len() && required.is_empty();
        let nodes: BTreeSet<Option<u32>> = shapes.iter().map(|(numa, ..)| *numa).collect();
        let of_node = |node| {
            let idle = groups.iter().filter(move |((numa, _, claimed), _)| *numa == node && claimed.is_none());
            idle.map(|(_, members)| members).collect::<Vec<_>>()
        };
        let able = |node: &Option<u32>| of_node(*node).iter().map(|members| members.len()).sum::<usize>() >= size;
        if unbiased && nodes.iter().any(able) {
            let used: BTreeSet<Option<u32>> = idle.iter().map(|&number| cards.slots[number].numa()).collect();
            prop_assert_eq!(used.len(), 1);
            let even = nodes.iter().any(|&node| comes_out_even(&of_node(node), size));
            let split = groups.iter().filter(|(_, members)| {
                let taken = members.iter().filter(|member| idle.contains(member)).count();
                taken > 0 && taken < members.len()
            });
            prop_assert_eq!(split.count(), usize::from(!even));
        }
    }
}

/// Whether some of the groups together have exactly `size` devices.
fn comes_out_even(groups: &[&Vec<usize>], size: usize) -> bool {
    match groups {
        _ if size == 0 => true,
        [] => false,
        [first, rest @ ..] => {
            comes_out_even(rest, size) || (first.len() <= size && comes_out_even(rest, size - first.len()))
        }
    }
}
