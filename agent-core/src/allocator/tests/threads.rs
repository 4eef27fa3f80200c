//! Real threads on the allocator, as in the agent: two that grant, one that asks for advice and lists, one that decides.
//! Loom runs every interleaving of a few steps; this runs many steps, and under ThreadSanitizer it also looks into the
//! crates that loom replaces by models (`docs/CONCURRENCY.md`).

use super::*;
use std::{collections::BTreeSet, thread};

const DEVICES: u8 = 70;
/// How often each thread does what it does.
const STEPS: u64 = 400;

#[test]
fn threads_that_grant_advise_list_and_decide_agree_in_the_end() {
    let slots: Vec<Arc<Slot>> = (0..DEVICES).map(slot).collect();
    let (register, resource) = (Register::default(), resource(slots.clone()));
    let texts: Vec<String> = (0..DEVICES).map(|bus| id(bus).to_string()).collect();
    let granted = thread::scope(|scope| {
        let grant = |first: usize| {
            let (register, resource, texts) = (&register, &resource, &texts);
            scope.spawn(move || {
                let asked = |step: u64| (first + step as usize * 7) % texts.len();
                let request = |step| [[texts[asked(step)].as_str()]];
                (0..STEPS).filter(|&step| register.grant(resource, &request(step), NOW).is_ok()).count()
            })
        };
        let granting = [grant(0), grant(3)];
        scope.spawn(|| {
            for _ in 0..STEPS {
                let wish = Wish { available: &texts, required: &[], size: 3 };
                assert_eq!(resource.prefer(wish, NOW).unwrap().len(), 3);
                let list = resource.list();
                assert_eq!(list.to_bytes().len(), list.encoded_len());
            }
        });
        for step in 0..STEPS {
            let slot = &slots[step as usize % slots.len()];
            resource.decide(slot, if step % 3 == 0 { removed() } else { ready() });
            let word = slot.group_word();
            if word.settle(word.load(), ClaimState::Free) {
                resource.claim_settled(slot.id());
            }
            if step % 10 == 0 {
                resource.set_table(Table::new(slots.clone()));
            }
            resource.bell().ring();
        }
        granting.map(|thread| thread.join().unwrap()).into_iter().sum::<usize>()
    });
    let noted: Vec<u64> = std::iter::from_fn(|| register.take()).map(|answered| answered.order).collect();
    assert_eq!(noted.len(), granted);
    assert_eq!(noted.iter().collect::<BTreeSet<_>>().len(), granted, "each has a place of its own in the order");
    let table = resource.table();
    let marked: Vec<u64> = table.claimed().collect();
    for (place, slot) in slots.iter().enumerate() {
        let claimed = slot.group_word().load().state() != ClaimState::Free;
        assert!(!claimed || marked[place / 64] >> (place % 64) & 1 == 1, "{} is claimed and not marked", slot.id());
    }
}
