//! `docs/HEALTH.md`, row by row.

use super::*;
use crate::{
    device::{Bdf, Obstacle},
    holding::{Object, Place, Process},
    ownership::{Moment, Owner, Pod},
};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

static PENDING: LazyLock<Claim> = LazyLock::new(|| Claim::pending(Moment::ZERO, 1));
static OWNED: LazyLock<Claim> = LazyLock::new(|| Claim::found(Moment::ZERO, 1, owner("vm-a")));
static FOREIGN: LazyLock<Claim> = LazyLock::new(|| Claim::found(Moment::ZERO, 2, owner("vm-b")));
static OBSTACLE: LazyLock<Obstacle> =
    LazyLock::new(|| Obstacle { member: "0000:01:00.1".into(), driver: "snd_hda_intel".into() });
static HOLDER: LazyLock<Holder> =
    LazyLock::new(|| Holder { through: None, process: Some(Arc::new(qemu(Some("a1")))), stuck: false });
static STUCK: LazyLock<Holder> =
    LazyLock::new(|| Holder { process: Some(Arc::new(qemu(None))), stuck: true, ..HOLDER.clone() });
static UNSEEN: LazyLock<Holder> =
    LazyLock::new(|| Holder { through: Some(Object::Group(7)), process: None, stuck: false });

fn qemu(pod: Option<&str>) -> Process {
    let place = Some(Place { pod: pod.map(Into::into), container: None });
    Process { pid: 4711, started: None, command: "qemu-kvm".into(), place }
}

fn owner(name: &str) -> Owner {
    let pod = Pod { uid: None, name: Some(("vms".into(), name.into())) };
    Owner { pod, container: "compute".into() }
}

/// A device that nothing is wrong with and nobody has.
fn well() -> Facts<'static> {
    Facts {
        present: true,
        driver: Driver::Vfio,
        group: GroupState::Viable,
        missing_node: None,
        claim: None,
        sibling: None,
        holder: None,
        aer_fatal: false,
        cordoned: false,
        settling: false,
    }
}

fn of_pod_a(facts: Facts<'static>) -> Facts<'static> {
    Facts { claim: Some(&OWNED), ..facts }
}

/// The audio function of the same group, claimed.
fn sibling(claim: &'static Claim, companion: bool, settled: bool) -> Sibling<'static> {
    let device = Bdf::new(0, 1, 0, 1).unwrap().into();
    Sibling { group: Some(7), device, resource: "a.com/audio", companion, claim, settled }
}

fn says(facts: &Facts<'_>, health: Health, code: &str) -> String {
    let verdict = judge(facts);
    assert_eq!((verdict.health, verdict.reason.code()), (health, code), "{facts:?}");
    verdict.reason.to_string()
}

fn healthy(facts: &Facts<'_>, code: &str) -> String {
    says(facts, Health::Healthy, code)
}

fn unhealthy(facts: &Facts<'_>, code: &str) -> String {
    says(facts, Health::Unhealthy, code)
}

#[test]
fn a_free_device_is_ready_and_a_claimed_one_says_who_has_it() {
    healthy(&well(), "Ready");
    healthy(&Facts { claim: Some(&PENDING), ..well() }, "Claimed");
    assert_eq!(healthy(&of_pod_a(well()), "Owned"), "owned by pod vms/vm-a, container compute");
}

#[test]
fn a_missing_node_is_unhealthy_owned_or_not() {
    let facts = Facts { missing_node: Some("/dev/vfio/7"), ..well() };
    assert_eq!(unhealthy(&facts, "NodeMissing"), "/dev/vfio/7 is missing");
    unhealthy(&of_pod_a(facts), "NodeMissing");
}

#[test]
fn an_unbound_driver_is_unhealthy_owned_or_not() {
    for (driver, code) in [(Driver::Unbound, "DriverUnbound"), (Driver::Host("nvidia"), "HostDriver")] {
        let facts = Facts { driver, ..well() };
        unhealthy(&facts, code);
        unhealthy(&of_pod_a(facts), code);
    }
}

#[test]
fn a_group_that_is_not_viable_keeps_a_free_device_back_and_is_an_event_for_an_owned_one() {
    let facts = Facts { group: GroupState::NotViable(7, &OBSTACLE), ..well() };
    let text = "IOMMU group 7 is not viable: 0000:01:00.1 is bound to snd_hda_intel";
    assert_eq!(unhealthy(&facts, "GroupNotViable"), text);
    assert_eq!(healthy(&of_pod_a(facts), "GroupNotViable"), text);
}

#[test]
fn without_an_iommu_a_free_device_is_kept_back_and_an_owned_one_stays_with_its_pod() {
    let facts = Facts { group: GroupState::NoIommu(7), ..well() };
    unhealthy(&facts, "NoIommu");
    healthy(&of_pod_a(facts), "NoIommu");
}

#[test]
fn a_device_without_a_group_cannot_work_for_anybody() {
    let facts = Facts { group: GroupState::Missing, ..well() };
    unhealthy(&facts, "NoIommuGroup");
    unhealthy(&of_pod_a(facts), "NoIommuGroup");
}

#[test]
fn a_claimed_sibling_of_the_same_resource_keeps_a_device_back_at_once() {
    let pending = Facts { sibling: Some(sibling(&PENDING, false, false)), ..well() };
    let text = unhealthy(&pending, "GroupInUse");
    assert_eq!(text, "IOMMU group 7 is in use: 0000:01:00.1 (a.com/audio) is claimed");
    let owned = Facts { sibling: Some(sibling(&FOREIGN, false, false)), ..well() };
    let text = unhealthy(&owned, "GroupInUse");
    assert!(text.ends_with("is claimed by pod vms/vm-b, container compute"), "{text}");
}

#[test]
fn a_companion_stays_on_offer_until_its_owner_is_known_and_a_second_has_passed() {
    for (claim, settled, kept_back) in
        [(&PENDING, false, false), (&PENDING, true, false), (&FOREIGN, false, false), (&FOREIGN, true, true)]
    {
        let facts = Facts { sibling: Some(sibling(claim, true, settled)), ..well() };
        if kept_back {
            unhealthy(&facts, "GroupInUse");
        } else {
            healthy(&facts, "Ready");
        }
    }
}

#[test]
fn a_sibling_says_nothing_against_a_device_that_is_owned_itself() {
    healthy(&of_pod_a(Facts { sibling: Some(sibling(&FOREIGN, false, true)), ..well() }), "Owned");
}

#[test]
fn a_foreign_holder_keeps_a_free_device_back_and_is_an_event_for_an_owned_one() {
    let facts = Facts { holder: Some(&HOLDER), ..well() };
    let text = "held by process 4711 (qemu-kvm) of pod a1";
    assert_eq!(unhealthy(&facts, "Held"), text);
    assert_eq!(healthy(&of_pod_a(facts), "Held"), text);
    let stuck = unhealthy(&Facts { holder: Some(&STUCK), ..well() }, "Held");
    assert_eq!(stuck, "stuck: its owner is gone, but it is held by process 4711 (qemu-kvm)");
    let unseen = unhealthy(&Facts { holder: Some(&UNSEEN), ..well() }, "Held");
    assert!(
        unseen.starts_with("held by nobody who shows it") && unseen.ends_with("who has IOMMU group 7 open"),
        "{unseen}"
    );
}

#[test]
fn a_fatal_pci_error_is_unhealthy_owned_or_not() {
    let facts = Facts { aer_fatal: true, ..well() };
    unhealthy(&facts, "AerFatal");
    unhealthy(&of_pod_a(facts), "AerFatal");
}

#[test]
fn a_cordon_counts_once_the_device_is_free() {
    let facts = Facts { cordoned: true, ..well() };
    unhealthy(&facts, "Cordoned");
    healthy(&of_pod_a(facts), "Owned");
}

#[test]
fn a_device_that_flapped_waits_unless_it_is_owned() {
    let facts = Facts { settling: true, ..well() };
    unhealthy(&facts, "Settling");
    healthy(&of_pod_a(facts), "Owned");
}

#[test]
fn a_removed_device_is_unhealthy_owned_or_not() {
    let facts = Facts { present: false, driver: Driver::Unbound, group: GroupState::Missing, ..well() };
    unhealthy(&facts, "Removed");
    unhealthy(&of_pod_a(facts), "Removed");
}

#[test]
fn allocate_refuses_exactly_what_waiting_cannot_cure() {
    let refused = [
        Facts { present: false, ..well() },
        Facts { driver: Driver::Unbound, ..well() },
        Facts { driver: Driver::Host("nvidia"), ..well() },
        Facts { group: GroupState::Missing, ..well() },
        Facts { group: GroupState::NoIommu(7), ..well() },
        Facts { group: GroupState::NotViable(7, &OBSTACLE), ..well() },
        Facts { missing_node: Some("/dev/vfio/7"), ..well() },
        Facts { sibling: Some(sibling(&FOREIGN, true, true)), ..well() },
        Facts { sibling: Some(sibling(&FOREIGN, false, true)), ..well() },
    ];
    let granted = [
        well(),
        of_pod_a(well()),
        Facts { claim: Some(&PENDING), ..well() },
        // The owner may be the very pod that asks: only time tells.
        Facts { sibling: Some(sibling(&FOREIGN, false, false)), ..well() },
        Facts { sibling: Some(sibling(&PENDING, false, true)), ..well() },
        Facts { holder: Some(&HOLDER), ..well() },
        Facts { holder: Some(&STUCK), ..well() },
        Facts { aer_fatal: true, ..well() },
        Facts { cordoned: true, ..well() },
        Facts { settling: true, ..well() },
    ];
    for facts in refused {
        assert!(judge(&facts).reason.refuses(), "{facts:?}");
    }
    for facts in granted {
        assert!(!judge(&facts).reason.refuses(), "{facts:?}");
    }
}

fn any_facts() -> impl Strategy<Value = Facts<'static>> {
    let driver = prop_oneof![3 => Just(Driver::Vfio), 1 => Just(Driver::Unbound), 1 => Just(Driver::Host("nvidia"))];
    let group = prop_oneof![
        3 => Just(GroupState::Viable),
        1 => Just(GroupState::Missing),
        1 => Just(GroupState::NoIommu(7)),
        1 => Just(GroupState::NotViable(7, &OBSTACLE)),
    ];
    let claim = || prop_oneof![2 => Just(None), 1 => Just(Some(&*PENDING)), 1 => Just(Some(&*OWNED))];
    let sibling = (claim(), any::<bool>(), any::<bool>())
        .prop_map(|(claim, companion, settled)| Some(sibling(claim?, companion, settled)));
    let node = prop_oneof![4 => Just(None), 1 => Just(Some("/dev/vfio/7"))];
    let holder = prop_oneof![3 => Just(None), 1 => Just(Some(&*HOLDER)), 1 => Just(Some(&*STUCK))];
    let rare = || prop::bool::weighted(0.2);
    (prop::bool::weighted(0.8), driver, group, node, claim(), sibling, holder, (rare(), rare(), rare())).prop_map(
        |(present, driver, group, missing_node, claim, sibling, holder, (aer_fatal, cordoned, settling))| Facts {
            present,
            driver,
            group,
            missing_node,
            claim,
            sibling,
            holder,
            aer_fatal,
            cordoned,
            settling,
        },
    )
}

proptest! {
    #[test]
    fn an_owned_device_is_unhealthy_only_when_it_is_broken_or_gone(facts in any_facts()) {
        let whole = facts.present
            && facts.driver == Driver::Vfio
            && facts.group != GroupState::Missing
            && facts.missing_node.is_none()
            && !facts.aer_fatal;
        if facts.claim.is_some() {
            prop_assert_eq!(judge(&facts).health == Health::Healthy, whole);
        } else {
            prop_assert!(whole || judge(&facts).health == Health::Unhealthy);
        }
    }

    #[test]
    fn who_may_not_have_a_device_learns_why_and_what_to_do(facts in any_facts()) {
        let Verdict { health, reason } = judge(&facts);
        prop_assert!(!reason.to_string().is_empty());
        if health == Health::Healthy {
            return Ok(());
        }
        // Nobody on this host can hurry these: a device that was pulled, a pod that uses the group, a second that passes.
        let nobody = matches!(reason.code(), "Removed" | "GroupInUse" | "Settling");
        prop_assert_eq!(reason.remedy().is_none(), nobody, "{}", reason);
    }

    #[test]
    fn being_claimed_never_makes_a_healthy_device_unhealthy(facts in any_facts()) {
        let free = judge(&Facts { claim: None, ..facts.clone() });
        let owned = judge(&Facts { claim: Some(&OWNED), ..facts });
        prop_assert!(free.health == Health::Unhealthy || owned.health == Health::Healthy);
    }
}

#[test]
fn the_document_has_a_row_for_every_code_and_says_of_each_whether_allocate_refuses_it() {
    let document = include_str!("../../../docs/HEALTH.md");
    let rows: Vec<Vec<&str>> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .filter(|cells: &Vec<&str>| cells.len() == 9)
        .collect();
    let in_use = |proved| Reason::GroupInUse {
        group: Some(7),
        device: Bdf::new(0, 1, 0, 1).unwrap().into(),
        resource: "a.com/audio".into(),
        owner: None,
        proved,
    };
    let reasons = [
        Reason::Ready,
        Reason::Claimed,
        Reason::Owned(owner("vm-a")),
        Reason::Removed,
        Reason::Unbound,
        Reason::HostDriver("nvidia".into()),
        Reason::NoGroup,
        Reason::NodeMissing("/dev/vfio/7".into()),
        Reason::AerFatal,
        Reason::NotViable(7, OBSTACLE.clone()),
        Reason::NoIommu(7),
        in_use(true),
        Reason::Held(HOLDER.clone()),
        Reason::Cordoned,
        Reason::Settling,
    ];
    assert_eq!(rows.len(), reasons.len());
    assert!(!in_use(false).refuses());
    for (row, reason) in rows.iter().zip(&reasons) {
        assert!(row[1].starts_with(&format!("`{}`", reason.code())), "{row:?}");
        assert_eq!(row[5].starts_with("refuses"), reason.refuses(), "{row:?}");
        assert_eq!(row[7] == "–", reason.remedy().is_none(), "{row:?}");
    }
}
