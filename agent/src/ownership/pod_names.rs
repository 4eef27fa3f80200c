//! From pod UIDs to names, without the API server: the kubelet names the log folder of a pod
//! `<namespace>_<name>_<uid>` (kubernetes: `pkg/kubelet/kuberuntime/helpers.go`, `BuildPodLogsDirectory`).

use std::{collections::HashMap, fs, io, path::Path};

/// Namespace and name, by UID.
///
/// Only this direction is safe: the folder of a deleted pod stays for a while, so one name may have several UIDs.
pub type PodNames = HashMap<String, (String, String)>;

/// Reads the names of the folders below `/var/log/pods`. A folder that does not exist names nobody. Blocks: call it
/// from a thread that may.
///
/// # Errors
/// When the folder exists and cannot be listed.
pub fn pod_names(logs: &Path) -> io::Result<PodNames> {
    let entries = match fs::read_dir(logs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PodNames::new()),
        Err(error) => return Err(error),
    };
    let mut names = PodNames::new();
    for entry in entries {
        if let Some((uid, name)) = entry?.file_name().to_str().and_then(parse) {
            names.insert(uid, name);
        }
    }
    Ok(names)
}

/// Namespaces and pod names are DNS names, which hold no underscore.
fn parse(folder: &str) -> Option<(String, (String, String))> {
    let mut parts = folder.split('_');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let complete = parts.next().is_none() && ![namespace, name, uid].contains(&"");
    complete.then(|| (uid.to_owned(), (namespace.to_owned(), name.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_found_with_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let uid = "6f2c7f2b-1d5e-4c1f-9f43-1f2b5e7c9a01";
        for name in [
            &format!("vms_virt-launcher-gpu-x7k2p_{uid}"),
            "kube-system_etcd-node1_0123456789abcdef0123456789abcdef",
            "not-a-pod",
            "a_b",
            "a_b_c_d",
            "__",
        ] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let names = pod_names(folder.path()).unwrap();
        assert_eq!(names.len(), 2);
        assert_eq!(names[uid], ("vms".to_owned(), "virt-launcher-gpu-x7k2p".to_owned()));
        assert_eq!(names["0123456789abcdef0123456789abcdef"].1, "etcd-node1");
    }

    #[test]
    fn a_missing_folder_names_nobody_and_a_file_in_its_place_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(pod_names(&folder.path().join("absent")).unwrap().is_empty());
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(pod_names(&folder.path().join("file")).is_err());
    }
}
