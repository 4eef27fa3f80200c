//! What a holder is to the pods that own a device and its group.

use super::Process;
use crate::ownership::Claim;

/// What a process is to the owners of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// It runs in a pod that owns a member of the group.
    Own,
    /// It runs in a pod, and which pod owns the group is not known yet; or where it runs is not known.
    Unknown,
    /// It is proved to be somebody else's.
    Foreign,
}

/// What `process` is to the owners that `claims` name. Without a claim every holder is a stranger.
pub fn relation<'c>(process: &Process, claims: impl IntoIterator<Item = &'c Claim>) -> Relation {
    let mut claims = claims.into_iter().peekable();
    if claims.peek().is_none() {
        return Relation::Foreign;
    }
    let Some(place) = &process.place else { return Relation::Unknown };
    let Some(pod) = &place.pod else { return Relation::Foreign };
    let mut relation = Relation::Foreign;
    for claim in claims {
        match claim.owner().map(|owner| owner.pod.uid.as_ref()) {
            Some(Some(uid)) if uid == pod => return Relation::Own,
            Some(Some(_)) => {}
            // A claim without a pod, or a pod without a UID: it may be this one.
            Some(None) | None => relation = Relation::Unknown,
        }
    }
    relation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        holding::Place,
        ownership::{Owner, Pod},
    };
    use std::time::Duration;

    fn in_pod(uid: Option<&str>) -> Process {
        let place = Some(Place { pod: uid.map(Into::into), container: None });
        Process { pid: 7, started: None, command: "qemu-kvm".into(), place }
    }

    fn owned_by(uid: Option<&str>) -> Claim {
        let pod = Pod { uid: uid.map(Into::into), name: Some(("default".into(), "vm".into())) };
        Claim::found(Duration::ZERO, 1, Owner { pod, container: "compute".into() })
    }

    #[test]
    fn a_process_of_the_owning_pod_is_its_own() {
        assert_eq!(relation(&in_pod(Some("a")), [&owned_by(Some("b")), &owned_by(Some("a"))]), Relation::Own);
    }

    #[test]
    fn a_process_of_another_pod_or_of_none_is_foreign() {
        assert_eq!(relation(&in_pod(Some("b")), [&owned_by(Some("a"))]), Relation::Foreign);
        assert_eq!(relation(&in_pod(None), [&owned_by(Some("a"))]), Relation::Foreign);
        assert_eq!(relation(&in_pod(None), [&owned_by(None)]), Relation::Foreign);
        assert_eq!(relation(&in_pod(Some("a")), []), Relation::Foreign);
    }

    #[test]
    fn nobody_is_accused_while_the_owner_or_the_place_is_not_known() {
        let pending = Claim::pending(Duration::ZERO, 1);
        assert_eq!(relation(&in_pod(Some("a")), [&pending]), Relation::Unknown);
        assert_eq!(relation(&in_pod(Some("a")), [&owned_by(None)]), Relation::Unknown);
        let nowhere = Process { place: None, ..in_pod(None) };
        assert_eq!(relation(&nowhere, [&owned_by(Some("a"))]), Relation::Unknown);
    }
}
