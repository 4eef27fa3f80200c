//! The pod and the container of a process, read from the path of its cgroup.

use std::{fmt, sync::Arc};

/// Where a process runs, as far as its cgroup tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The UID of the pod.
    pub pod: Option<Arc<str>>,
    /// The id of the container: 64 hexadecimal digits with every runtime in use.
    pub container: Option<Arc<str>>,
}

impl Place {
    /// Reads one path of a cgroup, with either driver of the kubelet:
    ///
    /// ```text
    /// cgroupfs  /kubepods/burstable/pod<uid>/<container>
    /// systemd   /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<container>.scope
    /// ```
    ///
    /// (kubelet: `pkg/kubelet/cm/cgroup_manager_linux.go`, `ToSystemd`, which writes `_` for the `-` of a UID, and
    /// `pkg/kubelet/cm/pod_container_manager_linux.go`, `podCgroupNamePrefix`.) What stands above the pod's folder does not
    /// matter (a kubelet that runs in a container has its own tree there), nor what stands below the container's.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let Some(pod) = parts.find_map(pod_uid) else { return Self::default() };
        Self { pod: Some(pod), container: parts.next().and_then(container_id) }
    }

    /// Reads `/proc/PID/cgroup`: one line for the unified hierarchy, or one for each of the old ones, of which the first
    /// that names a pod counts (kernel: `Documentation/admin-guide/cgroup-v2.rst`, "Processes").
    #[must_use]
    pub fn of_proc(text: &str) -> Self {
        let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        paths.map(Self::of).find(|place| place.pod.is_some()).unwrap_or_default()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.pod, &self.container) {
            (Some(pod), Some(container)) => write!(f, "container {} of pod {pod}", short(container)),
            (Some(pod), None) => write!(f, "pod {pod}"),
            (None, Some(container)) => write!(f, "container {}", short(container)),
            (None, None) => f.write_str("no pod"),
        }
    }
}

/// The part of a container's id that runtimes show to people.
fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}

/// The UID in the name of a pod's folder.
fn pod_uid(part: &str) -> Option<Arc<str>> {
    if let Some(slice) = part.strip_suffix(".slice") {
        let (head, uid) =
            slice.rsplit_once("-pod").or_else(|| slice.split_once("pod").filter(|(head, _)| head.is_empty()))?;
        return (head.contains("kubepods") || head.is_empty())
            .then(|| uid.replace('_', "-"))
            .filter(|uid| is_uid(uid))
            .map(Into::into);
    }
    part.strip_prefix("pod").filter(|uid| is_uid(uid)).map(Into::into)
}

/// Whether it can be a pod's UID: a UUID, or the hash of a static pod's manifest (kubelet: `pkg/kubelet/config/common.go`,
/// `generatePodUIDFromManifest`; 32 hexadecimal digits).
fn is_uid(text: &str) -> bool {
    text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// The id in the name of a container's folder: `<id>`, or `<runtime>-<id>.scope`.
fn container_id(part: &str) -> Option<Arc<str>> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let id = name.rsplit_once('-').map_or(name, |(_, id)| id);
    (id.len() >= 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
    const CONTAINER: &str = "4f1a0c8d2b3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccdde";

    #[track_caller]
    fn is(path: &str, pod: Option<&str>, container: Option<&str>) {
        let found = Place::of(path);
        assert_eq!((found.pod.as_deref(), found.container.as_deref()), (pod, container), "{path}");
    }

    #[test]
    fn both_cgroup_drivers_and_all_runtimes_are_read() {
        for class in ["", "burstable/", "besteffort/"] {
            is(&format!("/kubepods/{class}pod{UID}/{CONTAINER}"), Some(UID), Some(CONTAINER));
        }
        let uid = UID.replace('-', "_");
        for class in ["", "-burstable", "-besteffort"] {
            for runtime in ["cri-containerd", "crio", "docker", "cri-o", "libpod"] {
                let path = format!(
                    "/kubepods.slice/kubepods{class}.slice/kubepods{class}-pod{uid}.slice/{runtime}-{CONTAINER}.scope"
                );
                is(&path, Some(UID), Some(CONTAINER));
            }
        }
    }

    #[test]
    fn a_kubelet_in_a_container_has_its_own_tree_above() {
        let above = "/docker/0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
        is(&format!("{above}/kubelet/kubepods/besteffort/pod{UID}/{CONTAINER}"), Some(UID), Some(CONTAINER));
        let uid = UID.replace('-', "_");
        is(
            &format!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{uid}.slice/cri-containerd-{CONTAINER}.scope"
            ),
            Some(UID),
            Some(CONTAINER),
        );
    }

    #[test]
    fn a_process_below_its_container_is_of_that_container() {
        is(&format!("/kubepods/pod{UID}/{CONTAINER}/machine/qemu"), Some(UID), Some(CONTAINER));
        is(&format!("/kubepods/pod{UID}"), Some(UID), None);
    }

    #[test]
    fn a_static_pod_has_a_hash_for_a_uid() {
        let hash = "6a8f1f4e0c3b4d5e9f708192a3b4c5d6";
        is(&format!("/kubepods.slice/kubepods-pod{hash}.slice/crio-{CONTAINER}.scope"), Some(hash), Some(CONTAINER));
    }

    #[test]
    fn a_process_of_the_host_has_no_pod() {
        for path in [
            "",
            "/",
            "/init.scope",
            "/system.slice/podman.service",
            "/user.slice/user-0.slice",
            "/system.slice/ssh-pod.slice",
            "/machine.slice/libvirt-pod-a.slice",
        ] {
            is(path, None, None);
        }
    }

    #[test]
    fn the_line_of_any_old_hierarchy_will_do() {
        let text = format!("12:devices:/kubepods/burstable/pod{UID}/{CONTAINER}\n1:name=systemd:/\n0::/\n");
        assert_eq!(Place::of_proc(&text).pod.as_deref(), Some(UID));
        assert_eq!(Place::of_proc(&format!("0::/../../pod{UID}/{CONTAINER}\n")).pod.as_deref(), Some(UID));
        assert_eq!(Place::of_proc("0::/system.slice/x.service\n"), Place::default());
        assert_eq!(Place::of_proc("nonsense"), Place::default());
    }

    proptest! {
        #[test]
        fn any_path_is_survived(path in "[/a-z0-9_.:-]{0,200}") {
            let _ = Place::of(&path);
            let _ = Place::of_proc(&path);
        }
    }
}
