//! The place of an answer in the order of answers, as an annotation in the answer itself.
//!
//! The kubelet keeps every `ContainerAllocateResponse` in its checkpoint (kubelet:
//! `pkg/kubelet/cm/devicemanager/pod_devices.go`, `toCheckpointData`), so an agent that starts later learns which of two
//! claims came first, and needs no file of its own. To the container the annotation means nothing.

/// What the names of the annotation begin with. The resource follows: one container may hold several, and the kubelet
/// complains of an annotation that has two values.
const PREFIX: &str = "order.vfiod.dev/";

/// The annotation of an answer.
#[must_use]
pub fn note(resource: &str, order: u64) -> (String, String) {
    (format!("{PREFIX}{}", resource.replace('/', "_")), order.to_string())
}

/// The order that the annotations of an answer note; 0 where they note none.
pub fn noted<'a>(annotations: impl IntoIterator<Item = (&'a str, &'a str)>) -> u64 {
    let noted = annotations.into_iter().filter(|(name, _)| name.starts_with(PREFIX));
    noted.filter_map(|(_, order)| order.parse().ok()).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_back_among_other_annotations() {
        let (name, value) = note("nvidia.com/TU104GL_Tesla_T4", 17);
        assert_eq!((name.as_str(), value.as_str()), ("order.vfiod.dev/nvidia.com_TU104GL_Tesla_T4", "17"));
        assert_eq!(noted([("a", "99"), (name.as_str(), value.as_str()), ("z", "")]), 17);
    }

    #[test]
    fn answers_of_others_note_nothing() {
        assert_eq!(noted([]), 0);
        assert_eq!(noted([("order", "5"), ("order.vfiod.dev/a.com_x", "first"), ("order.vfiod.dev/a.com_y", "-1")]), 0);
    }
}
