//! What `Allocate` answers.

use crate::conform::{
    book::Book,
    check::{Check, Group, Needs},
    kubelet::told,
    subject::{Probe, Subject, Terms, words},
};
use tonic::{Code, Status};

/// The checks of this file.
pub const GROUP: Group = Group {
    name: "allocate",
    about: "what Allocate answers",
    checks: &[&GRANTED, &AGAIN, &PER_CONTAINER, &APART, &UNKNOWN, &STATUS],
};

/// A healthy device is given.
pub static GRANTED: Check = Check {
    name: "allocate.granted",
    title: "a healthy device is given when it is asked for",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, Allocate: an error ends the admission of the pod",
    consequence: "The pod fails with UnexpectedAdmissionError, although the node shows a free device.",
    needs: Needs::Socket,
};

/// The same ids may be asked for again.
pub static AGAIN: Check = Check {
    name: "allocate.again",
    title: "ids that were given before are given again, with the same answer",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, devicesToAllocate and UpdatePluginResources: the app container gets the init container's devices, and a finished pod's devices are freed inside the next admission; there is no Deallocate",
    consequence: "The second pod that gets a device, or a pod with an init container, fails with UnexpectedAdmissionError.",
    needs: Needs::Socket,
};

/// One response a container.
pub static PER_CONTAINER: Check = Check {
    name: "allocate.per-container",
    title: "each container of a request has its response",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, allocateContainerResources: the response of a container is found by its place",
    consequence: "A container starts without its devices (\"no containers return in allocation response\" where there is none at all).",
    needs: Needs::Socket,
};

/// Responses are not shared.
pub static APART: Check = Check {
    name: "allocate.apart",
    title: "the response of one container names no device of another",
    source: "kubelet: staging/src/k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/api.proto, AllocateResponse: one ContainerAllocateResponse a container",
    consequence: "Two containers are given the same device: the second VM fails with \"device or resource busy\", or sees another's memory.",
    needs: Needs::Socket,
};

/// An unknown id is refused.
pub static UNKNOWN: Check = Check {
    name: "allocate.unknown-id",
    title: "an id that is not listed is refused, alone and among known ones",
    source: "kubelet: pkg/kubelet/cm/devicemanager/checkpoint: after a restart it may ask for ids that it remembers and the plugin has no more; KubeVirt: pkg/virt-handler/device-manager/pci_device.go, Allocate",
    consequence: "The VM starts with fewer devices than were asked for, and fails in virt-launcher, where nothing names the reason.",
    needs: Needs::Socket,
};

/// The refusal says what it is.
pub static STATUS: Check = Check {
    name: "allocate.unknown-status",
    title: "the refusal of an unknown id has a status that fits (NOT_FOUND, INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE) and names the id",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, Allocate: the status is all that the pod's event says",
    consequence: "The pod's event says \"rpc error: code = Unknown\" and nobody knows which device, or why.",
    needs: Needs::Socket,
};

/// How many devices are asked for alone.
pub(in crate::conform) const SAMPLE: usize = 8;

/// Asks for single devices one after the other until `enough` were asked for, and keeps what they are given.
pub(in crate::conform) async fn probe(subject: &mut Subject, enough: usize, terms: &Terms, book: &mut Book) {
    let healthy = subject.stream.seen().healthy();
    if healthy.is_empty() {
        return book.all_unchecked(GROUP.checks, "no healthy device is listed");
    }
    for device in healthy.into_iter().take(enough) {
        if subject.probes.iter().any(|probe| probe.device == device) {
            continue;
        }
        match subject.plugin.allocate(&[&[&device]], terms.patience).await {
            Err(status) => {
                book.fail(&GRANTED, subject.name(), format!("Allocate of [{device}]: {}", told(&status)));
            }
            Ok(responses) => {
                book.pass(&GRANTED);
                let count = responses.len();
                book.judge(&PER_CONTAINER, subject.name(), count == 1, || miscounted(1, count));
                if let Some(response) = responses.into_iter().next() {
                    subject.probes.push(Probe { device, response });
                }
            }
        }
    }
    if subject.probes.is_empty() {
        book.all_unchecked(GROUP.checks, NO_DEVICE);
    }
}

/// Why nothing is checked that needs a device.
pub(in crate::conform) const NO_DEVICE: &str = "Allocate gives no device";
/// Why nothing is checked that needs a device a second time.
pub(in crate::conform) const NOT_AGAIN: &str = "Allocate gives no device a second time";

fn miscounted(asked: usize, answered: usize) -> String {
    format!("Allocate for {asked} container(s) has {answered} response(s)")
}

/// Everything else about `Allocate`. False when no device is given a second time: most of what else is checked would say
/// only that again.
pub(in crate::conform) async fn check(subject: &Subject, terms: &Terms, book: &mut Book) -> bool {
    let Some(first) = subject.probes.first() else { return false };
    if !again(subject, first, terms, book).await {
        book.all_unchecked(GROUP.checks, NOT_AGAIN);
        return false;
    }
    unknown(subject, first, terms, book).await;
    match subject.probes.as_slice() {
        [first, second, ..] => apart(subject, [first, second], terms, book).await,
        _ => book.unchecked(&APART, "it takes two healthy devices"),
    }
    true
}

async fn again(subject: &Subject, first: &Probe, terms: &Terms, book: &mut Book) -> bool {
    let device = &first.device;
    match subject.plugin.allocate(&[&[device]], terms.patience).await {
        Err(status) => {
            book.fail(&AGAIN, subject.name(), format!("the second Allocate of [{device}]: {}", told(&status)));
            false
        }
        Ok(responses) => {
            let second = responses.first().map(words);
            let same = second.as_ref().is_none_or(|second| *second == first.words());
            book.judge(&AGAIN, subject.name(), same, || {
                format!(
                    "the second Allocate of [{device}] names {:?}, the first named {:?}",
                    second.unwrap_or_default(),
                    first.words()
                )
            });
            true
        }
    }
}

async fn apart(subject: &Subject, probes: [&Probe; 2], terms: &Terms, book: &mut Book) {
    let name = subject.name();
    let [first, second] = probes;
    let containers: [&[&str]; 2] = [&[&first.device], &[&second.device]];
    let responses = match subject.plugin.allocate(&containers, terms.patience).await {
        Ok(responses) => responses,
        Err(status) => {
            let what =
                format!("Allocate of [{}] and [{}] for two containers: {}", first.device, second.device, told(&status));
            return book.fail(&PER_CONTAINER, name, what);
        }
    };
    book.judge(&PER_CONTAINER, name, responses.len() == 2, || miscounted(2, responses.len()));
    let [one, other] = responses.as_slice() else {
        return book.unchecked(&APART, "two containers have no two responses");
    };
    for (response, own, foreign) in [(one, first, second), (other, second, first)] {
        let only_foreign = &foreign.words() - &own.words();
        let leaked: Vec<String> = words(response).intersection(&only_foreign).cloned().collect();
        book.judge(&APART, name, leaked.is_empty(), || {
            format!(
                "the response of the container with {} names {}, which belongs to {}",
                own.device,
                leaked.join(", "),
                foreign.device
            )
        });
    }
}

async fn unknown(subject: &Subject, first: &Probe, terms: &Terms, book: &mut Book) {
    let listed = subject.stream.seen().ids();
    let stranger = "no-such-device".to_owned();
    let lookalike = lookalike(&first.device, &listed);
    for ids in [vec![stranger.as_str()], vec![lookalike.as_str()], vec![first.device.as_str(), lookalike.as_str()]] {
        let asked = ids.join(", ");
        match subject.plugin.allocate(&[&ids], terms.patience).await {
            Ok(_) => book.fail(
                &UNKNOWN,
                subject.name(),
                format!("Allocate of [{asked}] succeeds; {:?} is not listed", ids.last()),
            ),
            Err(status) => {
                book.pass(&UNKNOWN);
                let wrong = misfit(&status, ids.last().copied().unwrap_or_default());
                book.judge(&STATUS, subject.name(), wrong.is_none(), || {
                    format!("Allocate of [{asked}] is refused with {}: {}", told(&status), wrong.unwrap_or_default())
                });
            }
        }
    }
}

/// What is wrong with a refusal.
fn misfit(status: &Status, id: &str) -> Option<&'static str> {
    let fits =
        matches!(status.code(), Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange);
    match (fits, status.message().contains(id)) {
        (false, _) => Some("the code says nothing about the id"),
        (true, false) => Some("it does not name the id"),
        (true, true) => None,
    }
}

/// An id of the same shape that is not listed: one digit is another, the last ones first.
fn lookalike(id: &str, listed: &[String]) -> String {
    for (place, digit) in id.char_indices().rev().filter(|(_, character)| character.is_ascii_alphanumeric()) {
        // 7 is the highest function of a PCI device: what comes out shall be an address.
        for other in '0'..='7' {
            let mut changed = id.to_owned();
            changed.replace_range(place..place + digit.len_utf8(), other.encode_utf8(&mut [0; 4]));
            if changed != id && !listed.contains(&changed) {
                return changed;
            }
        }
    }
    format!("{id}-unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookalike_has_the_shape_of_the_id_and_is_not_listed() {
        let listed: Vec<String> = (0..8).map(|function| format!("0000:3b:00.{function}")).collect();
        let made = lookalike("0000:3b:00.0", &listed);
        assert_eq!(made, "0000:3b:01.0", "an address again");
        assert_eq!(lookalike("---", &[]), "----unknown");
        assert_ne!(lookalike("é1", &["é0".to_owned()]), "é1");
    }

    #[test]
    fn a_refusal_has_a_code_and_a_name() {
        assert_eq!(misfit(&Status::not_found("no device x"), "x"), None);
        assert!(misfit(&Status::unknown("no device x"), "x").is_some());
        assert!(misfit(&Status::not_found("no such device"), "0000:3b:00.0").is_some());
    }
}
