//! What `GetPreferredAllocation` advises.

use crate::conform::{
    book::Book,
    check::{Check, Group, Needs},
    kubelet::told,
    subject::{Subject, Terms},
};
use std::collections::HashSet;

/// The checks of this file.
pub const GROUP: Group = Group {
    name: "preferred",
    about: "what GetPreferredAllocation advises",
    checks: &[&SERVED, &REQUIRED, &SIZE, &OFFERED],
};

/// What is promised is served.
pub static SERVED: Check = Check {
    name: "preferred.served",
    title: "a plugin that offers GetPreferredAllocation answers it",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, callGetPreferredAllocationIfAvailable: an error ends the admission of the pod",
    consequence: "Every pod with fewer devices than the node has free fails with UnexpectedAdmissionError.",
    needs: Needs::Socket,
};

/// What must be in the answer is there.
pub static REQUIRED: Check = Check {
    name: "preferred.required",
    title: "all must_include ids are in the answer",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, devicesToAllocate: the ids that an init container has are required",
    consequence: "The app container gets other devices than its init container, and the pod takes more than it asked for.",
    needs: Needs::Socket,
};

/// The answer has the right size.
pub static SIZE: Check = Check {
    name: "preferred.size",
    title: "the answer has as many ids as were asked for",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, devicesToAllocate: what is missing is filled up at random, what is too much is cut off",
    consequence: "The choice is the kubelet's, not the plugin's: devices of different NUMA nodes or halves of IOMMU groups.",
    needs: Needs::Socket,
};

/// Only what was offered.
pub static OFFERED: Check = Check {
    name: "preferred.offered",
    title: "the answer holds only ids that were offered, each once",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, devicesToAllocate: others are thrown away (Intersection)",
    consequence: "The choice is the kubelet's, not the plugin's: devices of different NUMA nodes or halves of IOMMU groups.",
    needs: Needs::Socket,
};

/// Asks for advice in several ways.
pub(in crate::conform) async fn check(subject: &Subject, terms: &Terms, book: &mut Book) {
    if !subject.options.get_preferred_allocation_available {
        return book.all_unchecked(GROUP.checks, "the plugin does not offer it");
    }
    let healthy = subject.stream.seen().healthy();
    let all: Vec<&str> = healthy.iter().map(String::as_str).collect();
    let ([first, ..], [.., last]) = (all.as_slice(), all.as_slice()) else {
        return book.all_unchecked(GROUP.checks, "no healthy device is listed");
    };
    // A choice of one, of all, around a required one, and with one device withheld.
    let without_first = all.get(1..).unwrap_or_default();
    let wishes: [(&[&str], &[&str], usize); 5] = [
        (&all, &[], 1),
        (&all, &[], all.len()),
        (&all, &[last], 1),
        (&all, &[first], all.len().min(2)),
        (without_first, &[], without_first.len().min(2)),
    ];
    for (available, required, size) in wishes {
        if size > 0 && !wish(subject, (available, required, size), terms, book).await {
            return book.all_unchecked(GROUP.checks, "GetPreferredAllocation fails");
        }
    }
}

/// False when there is no answer.
async fn wish(
    subject: &Subject,
    (available, required, size): (&[&str], &[&str], usize),
    terms: &Terms,
    book: &mut Book,
) -> bool {
    let name = subject.name();
    let asked = || format!("{size} of {} devices with [{}]", available.len(), required.join(", "));
    let answer = match subject.plugin.preferred(available, required, size, terms.patience).await {
        Ok(answer) => answer,
        Err(status) => {
            book.fail(&SERVED, name, format!("{}: {}", asked(), told(&status)));
            return false;
        }
    };
    book.pass(&SERVED);
    let said = || format!("{} gives [{}]", asked(), answer.join(", "));
    let unique: HashSet<&str> = answer.iter().map(String::as_str).collect();
    let complete = required.iter().all(|id| unique.contains(id));
    if !required.is_empty() {
        book.judge(&REQUIRED, name, complete, said);
    }
    book.judge(&SIZE, name, answer.len() == size, said);
    let offered = unique.len() == answer.len() && unique.iter().all(|id| available.contains(id));
    book.judge(&OFFERED, name, offered, said);
    true
}
