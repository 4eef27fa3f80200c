//! `docs/HEALTH.md` on ownership, sentence by sentence: the life of a claim.

use super::*;

/// The ledger right after `Allocate` answered function 0 as a GPU, one second after the agent's start.
fn answered() -> Ledger {
    let mut ledger = Ledger::default();
    grant(&mut ledger, GPU, function(0), secs(1), 1);
    ledger
}

/// The same, once the kubelet has named pod `a`.
fn owned() -> Ledger {
    let mut ledger = answered();
    assert!(
        look(2).recorded("uid-a", "compute", GPU, function(0)).listed("a", "compute", GPU, function(0)).at(&mut ledger)
    );
    ledger
}

fn gpu(ledger: &Ledger) -> String {
    state(ledger, GPU, function(0))
}

#[test]
fn a_claim_is_pending_then_owned_then_free() {
    let mut ledger = answered();
    assert_eq!((gpu(&ledger).as_str(), ledger.has_pending()), ("pending", true));
    look(2).recorded("uid-a", "compute", GPU, function(0)).listed("a", "compute", GPU, function(0)).at(&mut ledger);
    assert_eq!((gpu(&ledger).as_str(), ledger.has_pending()), ("uid-a a compute", false));
    assert!(look(30).at(&mut ledger));
    assert!(ledger.is_empty());
}

#[test]
fn what_pod_resources_has_named_is_free_as_soon_as_it_names_it_no_more() {
    let mut ledger = owned();
    assert!(!look(3).kubelet_up(59).at(&mut ledger), "a young kubelet proves nothing");
    assert!(!look(3).without_pod_resources().at(&mut ledger), "the checkpoint may not be written yet");
    assert!(look(3).recorded("uid-a", "compute", GPU, function(0)).at(&mut ledger));
    assert!(ledger.is_empty());

    let mut unconfirmed = answered();
    look(2).recorded("uid-a", "compute", GPU, function(0)).without_pod_resources().at(&mut unconfirmed);
    assert!(!look(3).at(&mut unconfirmed), "what the checkpoint alone has named may be of the pod before");
    assert!(look(11).at(&mut unconfirmed));
}

#[test]
fn a_look_that_finds_what_is_known_changes_nothing() {
    let mut ledger = owned();
    let again = look(20).recorded("uid-a", "compute", GPU, function(0)).listed("a", "compute", GPU, function(0));
    assert!(!again.at(&mut ledger));
}

#[test]
fn a_pending_claim_that_no_pod_has_is_given_up_by_a_look_begun_ten_seconds_after_the_answer() {
    let mut ledger = answered();
    assert!(!look(10).at(&mut ledger));
    assert_eq!(gpu(&ledger), "pending");
    assert!(look(11).at(&mut ledger));
    assert!(ledger.is_empty() && !ledger.has_pending());
}

#[test]
fn the_checkpoint_of_a_young_kubelet_proves_that_a_pending_claim_came_to_nothing() {
    let mut ledger = answered();
    look(11).kubelet_up(5).at(&mut ledger);
    assert!(ledger.is_empty());
}

#[test]
fn the_silence_of_pod_resources_alone_proves_nothing_on_a_young_kubelet() {
    let mut ledger = answered();
    assert!(!look(20).without_checkpoint().kubelet_up(59).at(&mut ledger));
    assert_eq!(gpu(&ledger), "pending");
    assert!(look(21).without_checkpoint().kubelet_up(60).at(&mut ledger));
    assert!(ledger.is_empty());
}

#[test]
fn a_restarting_kubelet_lists_nothing_and_frees_nothing() {
    let mut ledger = owned();
    for up in [None, Some(0), Some(59)] {
        assert!(!look(100).kubelet_up(up).at(&mut ledger), "{up:?}");
        assert_eq!(gpu(&ledger), "uid-a a compute");
    }
    assert!(look(101).kubelet_up(60).at(&mut ledger));
    assert!(ledger.is_empty());
}

#[test]
fn a_source_that_cannot_be_read_leaves_everything_as_it_is() {
    for mut ledger in [answered(), owned()] {
        let before = gpu(&ledger);
        assert!(!look(1000).without_checkpoint().without_pod_resources().at(&mut ledger));
        assert_eq!(gpu(&ledger), before);
    }
}

#[test]
fn what_one_source_lacks_is_held_while_the_other_names_it() {
    let mut ledger = owned();
    look(100).listed("a", "compute", GPU, function(0)).at(&mut ledger);
    assert_eq!(gpu(&ledger), "uid-a a compute", "the checkpoint lacks it");
    look(101).recorded("uid-a", "compute", GPU, function(0)).without_pod_resources().at(&mut ledger);
    assert_eq!(gpu(&ledger), "uid-a a compute", "PodResources cannot be read");
}

#[test]
fn the_checkpoint_alone_names_and_frees() {
    let mut ledger = answered();
    look(2).recorded("uid-a", "compute", GPU, function(0)).without_pod_resources().at(&mut ledger);
    assert_eq!(gpu(&ledger), "uid-a - compute");
    look(30).without_pod_resources().at(&mut ledger);
    assert!(ledger.is_empty());
}

#[test]
fn pod_resources_alone_names_and_frees() {
    let mut ledger = answered();
    look(2).listed("a", "compute", GPU, function(0)).without_checkpoint().at(&mut ledger);
    assert_eq!(gpu(&ledger), "- a compute");
    look(30).without_checkpoint().at(&mut ledger);
    assert!(ledger.is_empty());
}

#[test]
fn what_the_checkpoint_still_says_of_a_finished_pod_does_not_count() {
    let left_over = |begun| look(begun).recorded("uid-a", "compute", GPU, function(0));
    let mut ledger = owned();
    assert!(!left_over(30).kubelet_up(30).at(&mut ledger), "a young kubelet does not know its pods yet");
    assert!(left_over(31).at(&mut ledger));
    assert!(ledger.is_empty());
    assert!(!left_over(32).at(&mut ledger), "and it is not taken for a new claim");
}

#[test]
fn a_new_claim_is_not_named_after_the_finished_pod_before() {
    let mut ledger = owned();
    grant(&mut ledger, GPU, function(0), secs(40), 2);
    // Begun before the answer: it cannot know.
    look(39).recorded("uid-a", "compute", GPU, function(0)).listed("a", "compute", GPU, function(0)).at(&mut ledger);
    assert_eq!(gpu(&ledger), "pending");
    // Begun after it, before the kubelet wrote its checkpoint.
    look(40).recorded("uid-a", "compute", GPU, function(0)).at(&mut ledger);
    assert_eq!(gpu(&ledger), "pending");
    // PodResources is the kubelet's memory, and ahead of the checkpoint.
    let named_before = named(Some("uid-a"), "a");
    look(41)
        .recorded_as(named_before, "compute", GPU, function(0))
        .listed("b", "compute", GPU, function(0))
        .at(&mut ledger);
    assert_eq!(gpu(&ledger), "- b compute");
    look(42).recorded("uid-b", "compute", GPU, function(0)).listed("b", "compute", GPU, function(0)).at(&mut ledger);
    assert_eq!(gpu(&ledger), "uid-b b compute");
}

#[test]
fn ids_sent_again_for_the_next_container_are_a_younger_claim_of_the_same_pod() {
    let mut ledger = answered();
    let init = |begun| look(begun).recorded("uid-a", "init", GPU, function(0));
    init(2).without_pod_resources().at(&mut ledger);
    grant(&mut ledger, GPU, function(0), secs(3), 2);
    let claim = ledger.claim(GPU, function(0)).unwrap();
    assert_eq!((claim.since, claim.order, claim.owner()), (secs(3), 2, None));
    // The checkpoint keeps the entries of both containers; the kubelet's memory says who has it.
    let both = init(4).recorded("uid-a", "compute", GPU, function(0)).listed("a", "compute", GPU, function(0));
    both.at(&mut ledger);
    assert_eq!(gpu(&ledger), "uid-a a compute");
}

#[test]
fn the_order_of_the_checkpoints_entries_does_not_matter() {
    let mut ledger = answered();
    let entries = ["init", "compute"];
    for (begun, first, second) in [(2, 0, 1), (3, 1, 0), (4, 0, 1)] {
        let look = look(begun).without_pod_resources();
        let look = look.recorded("uid-a", entries[first], GPU, function(0));
        let changed = look.recorded("uid-a", entries[second], GPU, function(0)).at(&mut ledger);
        assert_eq!((gpu(&ledger).as_str(), changed), ("uid-a - compute", begun == 2));
    }
}

#[test]
fn names_and_uids_of_one_pod_are_joined_and_kept_while_a_source_is_silent() {
    let mut ledger = answered();
    look(2).recorded("uid-a", "compute", GPU, function(0)).without_pod_resources().at(&mut ledger);
    assert_eq!(gpu(&ledger), "uid-a - compute");
    look(3).recorded("uid-a", "compute", GPU, function(0)).listed("a", "compute", GPU, function(0)).at(&mut ledger);
    assert_eq!(gpu(&ledger), "uid-a a compute");
    look(4).recorded("uid-a", "compute", GPU, function(0)).without_pod_resources().at(&mut ledger);
    assert_eq!(gpu(&ledger), "uid-a a compute");
    look(5).listed("a", "compute", GPU, function(0)).without_checkpoint().at(&mut ledger);
    assert_eq!(gpu(&ledger), "uid-a a compute");
}

#[test]
fn a_name_that_the_checkpoint_knows_already_is_not_joined_with_another_pods() {
    let mut ledger = answered();
    let recorded = look(2).recorded_as(named(Some("uid-a"), "a"), "compute", GPU, function(0));
    recorded.listed("b", "compute", GPU, function(0)).at(&mut ledger);
    assert_eq!(gpu(&ledger), "- b compute");
}

#[test]
fn what_was_there_before_the_agent_is_owned_from_the_first_look_on() {
    let mut ledger = Ledger::default();
    assert!(look(0).recorded("uid-a", "compute", GPU, function(0)).kubelet_up(None).at(&mut ledger));
    assert_eq!(gpu(&ledger), "uid-a - compute");
    assert!(!ledger.claim(GPU, function(0)).unwrap().answered);
    assert!(look(1).at(&mut ledger), "nothing was answered, so there is no answer to wait ten seconds for");
    assert!(ledger.is_empty());
}

#[test]
fn claims_on_one_device_under_two_resources_are_two_claims() {
    let mut ledger = answered();
    grant(&mut ledger, AUDIO, function(0), secs(2), 2);
    let both = look(3).recorded("uid-a", "compute", GPU, function(0)).recorded("uid-b", "compute", AUDIO, function(0));
    both.without_pod_resources().at(&mut ledger);
    assert_eq!(gpu(&ledger), "uid-a - compute");
    assert_eq!(state(&ledger, AUDIO, function(0)), "uid-b - compute");
    look(30).recorded("uid-b", "compute", AUDIO, function(0)).without_pod_resources().at(&mut ledger);
    assert_eq!((gpu(&ledger).as_str(), state(&ledger, AUDIO, function(0)).as_str()), ("free", "uid-b - compute"));
    assert!(ledger.claimed_under(GPU).next().is_none() && ledger.claimed_under(AUDIO).eq([function(0)]));
}

#[test]
fn of_two_answers_noted_in_the_wrong_order_the_younger_counts() {
    let mut ledger = Ledger::default();
    grant(&mut ledger, GPU, function(0), secs(5), 2);
    grant(&mut ledger, GPU, function(0), secs(5), 1);
    assert_eq!(ledger.claim(GPU, function(0)).unwrap().order, 2);
    look(15).at(&mut ledger);
    assert!(!ledger.has_pending());
}

#[test]
fn an_answer_counts_whatever_order_a_claim_from_before_the_agent_has() {
    let mut ledger = Ledger::default();
    look(0).recorded("uid-a", "compute", GPU, function(0)).ordered(57).kubelet_up(5).at(&mut ledger);
    grant(&mut ledger, GPU, function(0), secs(5), 1);
    assert_eq!(gpu(&ledger), "pending");
}

#[test]
fn a_grant_says_what_it_changed_of_the_claims_on_a_device() {
    let mut ledger = Ledger::default();
    let grant = |ledger: &mut Ledger, resource: &str, at, order| {
        ledger.answered(&resource.into(), function(0), secs(at), order)
    };
    assert_eq!(grant(&mut ledger, GPU, 1, 1), Noted::First);
    assert_eq!(ledger.claimed_as(function(0)).map(AsRef::as_ref), Some(GPU));
    assert_eq!(grant(&mut ledger, GPU, 2, 2), Noted::Again);
    assert_eq!(grant(&mut ledger, GPU, 2, 1), Noted::Changed, "noted late");
    look(3).listed("a", "compute", GPU, function(0)).at(&mut ledger);
    assert_eq!(grant(&mut ledger, GPU, 4, 3), Noted::Changed, "it had an owner");
    assert_eq!(grant(&mut ledger, AUDIO, 5, 4), Noted::Changed);
    assert_eq!(grant(&mut ledger, GPU, 6, 5), Noted::Changed, "there is another claim");
    assert_eq!(ledger.claimed_as(function(1)), None);
}
