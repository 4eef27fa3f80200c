//! All of a request or nothing.

use super::*;

fn texts(buses: &[u8]) -> Vec<String> {
    buses.iter().map(|&bus| id(bus).to_string()).collect()
}

fn refusal(register: &Register, resource: &Resource, requests: &[Vec<String>]) -> Refusal {
    register.grant(resource, requests, NOW).unwrap_err()
}

#[test]
fn every_container_gets_its_devices_in_the_order_asked_for() {
    let (register, resource) = (Register::default(), resource(vec![slot(1), slot(2), slot(3)]));
    let grants = register.grant(&resource, &[texts(&[3, 1]), texts(&[]), texts(&[2])], NOW).unwrap();
    let granted: Vec<Vec<DeviceId>> = grants.iter().map(|grant| grant.slots.iter().map(|s| s.id()).collect()).collect();
    assert_eq!(granted, [vec![id(3), id(1)], vec![], vec![id(2)]]);
}

#[test]
fn what_is_granted_is_noted_in_its_order_and_claimed() {
    let slots = [slot(1), slot(2)];
    let (register, resource) = (Register::default(), resource(slots.to_vec()));
    for bus in [2, 1, 2] {
        register.grant(&resource, &[texts(&[bus])], NOW).unwrap();
    }
    let noted: Vec<_> = std::iter::from_fn(|| register.take())
        .map(|note| (note.devices().collect::<Vec<_>>(), note.order, note.at))
        .collect();
    assert_eq!(noted, [(vec![id(2)], 1, NOW), (vec![id(1)], 2, NOW), (vec![id(2)], 3, NOW)]);
    for slot in slots {
        let word = slot.group_word().load();
        assert_eq!((word.state(), word.moment()), (ClaimState::Pending, NOW));
    }
}

#[test]
fn grants_follow_those_of_the_agent_before() {
    let (register, resource) = (Register::default(), resource(vec![slot(1)]));
    register.follow(41);
    register.follow(7);
    let grants = register.grant(&resource, &[texts(&[1]), texts(&[1])], NOW).unwrap();
    assert_eq!(grants.iter().map(|grant| grant.order).collect::<Vec<_>>(), [42, 43]);
    assert_eq!(register.take().unwrap().order, 42);
}

#[test]
fn a_request_with_one_bad_device_grants_nothing_at_all() {
    let slots = [slot(1), slot(2)];
    let (register, resource) = (Register::default(), resource(slots.to_vec()));
    slots[1].decide(removed());
    for bad in ["0000:02:00.0", "0000:09:00.0", "garbage", ""] {
        let requests = [texts(&[1]), vec![texts(&[1]).remove(0), bad.to_owned()]];
        assert!(refusal(&register, &resource, &requests).to_string().contains(bad));
    }
    assert!(register.take().is_none());
    assert_eq!(slots[0].group_word().load().state(), ClaimState::Free);
}

#[test]
fn an_unknown_id_is_named_as_it_was_asked_for() {
    let (register, resource) = (Register::default(), resource(vec![slot(0x3b)]));
    for id in ["0000:3B:00.0", "0000:3b:00.1", "3b:00.0", "0000:3b:00.0 ", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"] {
        let refusal = refusal(&register, &resource, &[vec![id.to_owned()]]);
        assert!(matches!(&refusal, Refusal::Unknown { .. }), "{refusal}");
        let text = format!("a.com/gpu has no device {id:?} on this node: see `vfiod devices` for those it has");
        assert_eq!(refusal.to_string(), text);
    }
}

#[test]
fn an_id_of_any_length_gives_a_short_message() {
    let (register, resource) = (Register::default(), resource(Vec::new()));
    let text = refusal(&register, &resource, &[vec!["ä".repeat(1 << 20)]]).to_string();
    assert!(text.len() < 500 && text.contains("ääää"), "{text}");
}

#[test]
fn a_device_that_cannot_be_used_is_refused_with_reason_and_remedy() {
    let slots = [slot(1)];
    let (register, resource) = (Register::default(), resource(slots.to_vec()));
    slots[0].decide(Verdict { health: Health::Unhealthy, reason: Reason::HostDriver("nvidia".into()) });
    assert_eq!(
        refusal(&register, &resource, &[texts(&[1])]).to_string(),
        "0000:01:00.0 of a.com/gpu cannot be allocated: bound to nvidia, which is not a VFIO driver; unbind it from \
         nvidia and bind it to vfio-pci"
    );
}

#[test]
fn a_busy_device_and_a_claimed_one_are_granted() {
    let slots = [slot(1)];
    let (register, resource) = (Register::default(), resource(slots.to_vec()));
    slots[0].decide(Verdict { health: Health::Unhealthy, reason: Reason::Cordoned });
    for _ in 0..2 {
        register.grant(&resource, &[texts(&[1])], NOW).unwrap();
    }
}

#[test]
fn a_device_named_twice_is_one_device() {
    let (register, resource) = (Register::default(), resource(vec![slot(1), slot(2)]));
    let grants = register.grant(&resource, &[texts(&[1, 2, 1])], NOW).unwrap();
    assert_eq!(grants[0].slots.len(), 2);
    assert!(register.take().unwrap().devices().eq([id(1), id(2)]));
}
