//! Every interleaving of the threads that meet in the allocator: any number that grant, one that decides.

use super::*;
use ::loom::{
    model,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

const LATER: Moment = Duration::from_secs(101);

#[test]
fn loom_a_claim_is_never_settled_by_what_was_known_before_it() {
    model(|| {
        let word = Arc::new(GroupWord::default());
        word.claim(NOW);
        let claimant = {
            let word = Arc::clone(&word);
            thread::spawn(move || word.claim(LATER))
        };
        // The reactor has learned that the first claim came to nothing.
        let seen = word.load();
        let settled = word.settle(seen, ClaimState::Free);
        claimant.join().unwrap();
        let last = word.load();
        assert_eq!(last.moment(), LATER);
        let knew_it = settled && seen.moment() == LATER;
        assert_eq!(last.state(), if knew_it { ClaimState::Free } else { ClaimState::Pending });
    });
}

#[test]
fn loom_of_two_claims_at_one_moment_none_is_lost() {
    model(|| {
        let word = Arc::new(GroupWord::default());
        let claim = |word: &Arc<GroupWord>| {
            let word = Arc::clone(word);
            thread::spawn(move || {
                word.claim(NOW);
                word.load()
            })
        };
        let (one, other) = (claim(&word), claim(&word));
        let (one, other) = (one.join().unwrap(), other.join().unwrap());
        let last = word.load();
        assert!(one == last || other == last);
        // Whoever settles what was seen before the second claim does nothing.
        for seen in [one, other].into_iter().filter(|&seen| seen != last) {
            assert!(!word.settle(seen, ClaimState::Free));
        }
        assert_eq!(word.load().state(), ClaimState::Pending);
    });
}

#[test]
fn loom_a_refusal_carries_the_reason_for_which_it_was_made() {
    model(|| {
        let slot = slot(1);
        let reactor = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                slot.decide(removed());
                slot.decide(ready());
                slot.decide(Verdict { health: Health::Unhealthy, reason: Reason::Unbound });
            })
        };
        let (register, resource) = (Register::default(), resource(vec![Arc::clone(&slot)]));
        match register.grant(&resource, &[[id(1).to_string()]], NOW) {
            Ok(_) => assert!(register.take().unwrap().devices().eq([id(1)])),
            Err(Refusal::Unusable { verdict, .. }) => {
                assert!(verdict.reason.refuses() && verdict.health == Health::Unhealthy);
                assert!(register.take().is_none());
            }
            Err(refusal) => panic!("{refusal}"),
        }
        reactor.join().unwrap();
        assert_eq!(slot.refusal().unwrap().reason, Reason::Unbound);
        assert!(!slot.is_healthy());
    });
}

#[test]
fn loom_whoever_sees_the_new_version_sees_what_the_bell_was_rung_for() {
    model(|| {
        let (slot, resource) = (slot(1), Arc::new(resource(vec![slot(1)])));
        let reactor = {
            let (slot, resource) = (Arc::clone(&slot), Arc::clone(&resource));
            thread::spawn(move || {
                slot.decide(removed());
                resource.set_table(Table::default());
                resource.bell().ring();
            })
        };
        if resource.bell().version() == 1 {
            assert!(!slot.is_healthy());
            assert!(resource.table().slots().is_empty());
        }
        reactor.join().unwrap();
    });
}

#[test]
fn loom_a_stream_that_looks_after_it_listens_misses_nothing() {
    model(|| {
        let (slot, healthy, wakes) = (slot(1), slot(1), Arc::new(AtomicUsize::new(0)));
        let resource = Arc::new(resource(vec![Arc::clone(&slot)]));
        let woken = Arc::clone(&wakes);
        resource.bell().connect(move || {
            woken.fetch_add(1, Ordering::Release);
        });
        let reactor = {
            let (slot, resource) = (Arc::clone(&slot), Arc::clone(&resource));
            thread::spawn(move || {
                resource.decide(&slot, removed());
                resource.bell().ring();
            })
        };
        let listening = wakes.load(Ordering::Acquire);
        let sent = resource.list();
        reactor.join().unwrap();
        let sent_healthy = sent.says_the_same(&List::of(Arc::new(Table::new(vec![healthy]))));
        assert!(!sent_healthy || wakes.load(Ordering::Acquire) > listening, "a change is never sent");
    });
}

#[test]
fn loom_two_grants_are_both_noted_and_have_an_order() {
    model(|| {
        let register = Arc::new(Register::default());
        let resource = Arc::new(resource(vec![slot(1), slot(2)]));
        let grant = |bus: u8| {
            let (register, resource) = (Arc::clone(&register), Arc::clone(&resource));
            thread::spawn(move || register.grant(&resource, &[[id(bus).to_string()]], NOW).unwrap().len())
        };
        let (one, other) = (grant(1), grant(2));
        one.join().unwrap();
        other.join().unwrap();
        let mut noted: Vec<(u64, DeviceId)> =
            std::iter::from_fn(|| register.take()).map(|note| (note.order, note.slots[0].id())).collect();
        noted.sort_unstable();
        assert!(matches!(noted[..], [(1, first), (2, second)] if first != second), "{noted:?}");
    });
}

#[test]
fn loom_a_device_that_leaves_the_list_is_granted_or_unknown_and_never_half_of_it() {
    model(|| {
        let slots = [slot(1), slot(2)];
        let (register, resource) = (Register::default(), Arc::new(resource(slots.to_vec())));
        let reactor = {
            let (resource, left) = (Arc::clone(&resource), Arc::clone(&slots[0]));
            thread::spawn(move || resource.set_table(Table::new(vec![left])))
        };
        let granted = register.grant(&resource, &[[id(1).to_string(), id(2).to_string()]], NOW).is_ok();
        reactor.join().unwrap();
        for slot in &slots {
            assert_eq!(slot.group_word().load().state() == ClaimState::Pending, granted);
        }
        assert_eq!(register.take().is_some(), granted);
    });
}

#[test]
fn loom_no_grant_is_left_unheard_when_the_reactor_is_not_woken_for_each() {
    model(|| {
        let register = Arc::new(Register::default());
        let resource = Arc::new(resource(vec![slot(1), slot(2)]));
        let grant = |bus: u8| {
            let (register, resource) = (Arc::clone(&register), Arc::clone(&resource));
            thread::spawn(move || {
                register.grant(&resource, &[[id(bus).to_string()]], NOW).unwrap();
                register.must_wake()
            })
        };
        register.must_wake(); // the reactor is awake
        let (one, other) = (grant(1), grant(2));
        register.sleeps();
        let heard = std::iter::from_fn(|| register.take()).count();
        let woken = [one, other].map(|grant| grant.join().unwrap()).into_iter().any(|woken| woken);
        assert!(woken || heard == 2, "{heard} of 2 were heard, and nobody wakes the reactor for the rest");
    });
}

/// Whether advice would take the first device of a resource for idle without looking at its group.
fn passes_for_idle(resource: &Resource) -> bool {
    resource.table().claimed().next() == Some(0)
}

#[test]
fn loom_a_claim_is_marked_also_in_a_table_that_takes_the_place_of_the_one_it_was_granted_from() {
    model(|| {
        let slot = slot(1);
        let (register, resource) = (Register::default(), Arc::new(resource(vec![Arc::clone(&slot)])));
        let reactor = {
            let resource = Arc::clone(&resource);
            thread::spawn(move || resource.set_table(Table::new(vec![slot])))
        };
        register.grant(&resource, &[[id(1).to_string()]], NOW).unwrap();
        reactor.join().unwrap();
        assert!(!passes_for_idle(&resource));
    });
}

#[test]
fn loom_the_mark_of_a_claim_is_not_taken_away_with_that_of_the_claim_before_it() {
    model(|| {
        let slot = slot(1);
        let (register, resource) = (Register::default(), Arc::new(resource(vec![Arc::clone(&slot)])));
        register.grant(&resource, &[[id(1).to_string()]], NOW).unwrap();
        let reactor = {
            let (slot, resource) = (Arc::clone(&slot), Arc::clone(&resource));
            thread::spawn(move || {
                slot.group_word().settle(slot.group_word().load(), ClaimState::Free);
                resource.claim_settled(slot.id());
            })
        };
        register.grant(&resource, &[[id(1).to_string()]], LATER).unwrap();
        reactor.join().unwrap();
        let claimed = slot.group_word().load().state() != ClaimState::Free;
        assert!(!(claimed && passes_for_idle(&resource)));
    });
}
