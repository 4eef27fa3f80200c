//! The kubelet's own record of who has which device: `device-plugins/kubelet_internal_checkpoint`.
//!
//! The kubelet writes it beside and renames it into place, so it is never seen half-written
//! (kubernetes: `pkg/kubelet/util/store/filestore.go`, `writeFile`). Its checksum covers a dump of Go structures
//! (`pkg/util/hash/hash.go`, `DeepHashObject`), which nothing but the kubelet can compute; it is not checked.

use crate::io::FileIo;
use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};
use vfiod_core::{
    device::{DeviceId, GroupId, former_id},
    ownership::{noted, takeover::former_devices},
};
use vfiod_proto::deviceplugin::ContainerAllocateResponse;

/// Enough for tens of thousands of devices, whose responses to `Allocate` are in the file too.
const LIMIT: usize = 64 * 1024 * 1024;

/// The devices of one resource that one container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The pod's UID.
    pub pod_uid: String,
    /// The container's name.
    pub container: String,
    /// The resource's name.
    pub resource: String,
    /// Device ids, as their plugin listed them.
    pub ids: Vec<String>,
    /// The place in the order of answers that the plugin's answer notes; 0 where it notes none.
    pub order: u64,
    /// What the numbers among the ids stood for, as the answer of KubeVirt's own plugin tells.
    pub formers: Vec<(GroupId, DeviceId)>,
}

/// What the checkpoint says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Who has what.
    pub entries: Vec<Entry>,
    /// The device ids that the kubelet knew as registered, by resource.
    pub registered: BTreeMap<String, Vec<String>>,
}

/// Why the checkpoint says nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read the kubelet's checkpoint {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the kernel.
        reason: io::Error,
    },
    /// It is not a device manager's checkpoint.
    #[error("the kubelet's checkpoint {} is not understood: {reason}", path.display())]
    Garbage {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: serde_json::Error,
    },
}

/// kubernetes: `pkg/kubelet/cm/devicemanager/checkpoint/checkpoint.go`, `Data`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Data {
    pod_device_entries: Option<Vec<PodDevicesEntry>>,
    registered_devices: Option<BTreeMap<String, Option<Vec<String>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PodDevicesEntry {
    #[serde(rename = "PodUID")]
    pod_uid: String,
    container_name: String,
    resource_name: String,
    #[serde(rename = "DeviceIDs")]
    device_ids: Option<DeviceIds>,
    /// The plugin's `ContainerAllocateResponse`, in base64.
    #[serde(default)]
    alloc_resp: serde_json::Value,
}

/// Go writes an empty list or map that was never made as `null`.
#[derive(Deserialize)]
#[serde(untagged)]
enum DeviceIds {
    /// From Kubernetes 1.20 on, by NUMA node (`DevicesPerNUMA`); devices without one are under `-1`.
    PerNuma(BTreeMap<String, Option<Vec<String>>>),
    /// Before.
    List(Vec<String>),
}

/// Reads the checkpoint in the kubelet's plugin folder. A file that does not exist says that nobody has anything: the
/// kubelet writes it before it uses the first answer of a plugin.
///
/// # Errors
/// When the file exists and cannot be read or understood: then it proves nothing.
pub async fn read(io: FileIo, plugin_dir: &Path) -> Result<Checkpoint, Error> {
    let path = plugin_dir.join(vfiod_proto::KUBELET_CHECKPOINT);
    match io.read(&path, LIMIT).await {
        Ok(content) => parse(&content).map_err(|reason| Error::Garbage { path, reason }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Checkpoint::default()),
        Err(reason) => Err(Error::Unreadable { path, reason }),
    }
}

/// Reads the content of a checkpoint. An empty file is an error: the kubelet never writes one, a full disk may.
///
/// # Errors
/// When it is not the JSON of a device manager's checkpoint.
pub fn parse(content: &[u8]) -> Result<Checkpoint, serde_json::Error> {
    let Document { data } = serde_json::from_slice(content)?;
    let entries = data.pod_device_entries.unwrap_or_default().into_iter().map(PodDevicesEntry::into_entry).collect();
    let registered =
        data.registered_devices.unwrap_or_default().into_iter().map(|(name, ids)| (name, ids.unwrap_or_default()));
    Ok(Checkpoint { entries, registered: registered.collect() })
}

impl PodDevicesEntry {
    fn into_entry(self) -> Entry {
        let ids = match self.device_ids {
            Some(DeviceIds::PerNuma(nodes)) => nodes.into_values().flatten().flatten().collect(),
            Some(DeviceIds::List(ids)) => ids,
            None => Vec::new(),
        };
        let answer = self.alloc_resp.as_str().and_then(answer).unwrap_or_default();
        let order = noted(answer.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let formers = if ids.iter().any(|id| former_id(id.as_bytes()).is_some()) {
            let variables = answer.envs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            former_devices(variables, answer.devices.iter().map(|node| node.host_path.as_str()))
        } else {
            Vec::new()
        };
        let (pod_uid, container, resource) = (self.pod_uid, self.container_name, self.resource_name);
        Entry { pod_uid, container, resource, ids, order, formers }
    }
}

/// The plugin's answer; none where it cannot be read: then it is as good as one that says nothing.
fn answer(text: &str) -> Option<ContainerAllocateResponse> {
    ContainerAllocateResponse::decode(&*STANDARD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{IoMode, Runtime};
    use proptest::prelude::*;

    const WITH_NUMA: &str = r#"{"Data":{"PodDeviceEntries":[
        {"PodUID":"6f2c7f2b-1d5e-4c1f-9f43-1f2b5e7c9a01","ContainerName":"compute","ResourceName":"nvidia.com/TU104GL_Tesla_T4",
         "DeviceIDs":{"-1":["0000:3c:00.0"],"0":["0000:3b:00.0","0000:3d:00.0"],"1":null},"AllocResp":"CkIKIVBDSV9SRVNPVVJDRQ=="},
        {"PodUID":"b1","ContainerName":"c","ResourceName":"intel.com/qat","DeviceIDs":null,"AllocResp":null}],
        "RegisteredDevices":{"nvidia.com/TU104GL_Tesla_T4":["0000:3b:00.0"],"intel.com/qat":null}},"Checksum":1234567890}"#;

    #[test]
    fn devices_of_all_numa_nodes_are_found() {
        let checkpoint = parse(WITH_NUMA.as_bytes()).unwrap();
        assert_eq!(checkpoint.entries[0].pod_uid, "6f2c7f2b-1d5e-4c1f-9f43-1f2b5e7c9a01");
        assert_eq!(checkpoint.entries[0].container, "compute");
        assert_eq!(checkpoint.entries[0].ids, ["0000:3c:00.0", "0000:3b:00.0", "0000:3d:00.0"]);
        assert_eq!((checkpoint.entries[1].resource.as_str(), checkpoint.entries[1].ids.len()), ("intel.com/qat", 0));
        assert_eq!(checkpoint.registered["nvidia.com/TU104GL_Tesla_T4"], ["0000:3b:00.0"]);
        assert!(checkpoint.registered["intel.com/qat"].is_empty());
    }

    #[test]
    fn the_order_that_an_answer_notes_is_read_from_it() {
        let order = |answer: &str| {
            let entry = format!(
                r#"{{"PodUID":"a","ContainerName":"c","ResourceName":"r/x","DeviceIDs":null,"AllocResp":{answer}}}"#
            );
            let text = format!(r#"{{"Data":{{"PodDeviceEntries":[{entry}],"RegisteredDevices":{{}}}},"Checksum":0}}"#);
            parse(text.as_bytes()).unwrap().entries[0].order
        };
        let answer = ContainerAllocateResponse {
            annotations: [vfiod_core::ownership::note("r/x", 17)].into(),
            ..ContainerAllocateResponse::default()
        };
        assert_eq!(order(&format!("{:?}", STANDARD.encode(answer.encode_to_vec()))), 17);
        for unreadable in ["null", "\"\"", "\"%\"", "\"AAAA\"", "7", "{}"] {
            assert_eq!(order(unreadable), 0, "{unreadable}");
        }
    }

    #[test]
    fn the_older_form_is_a_plain_list() {
        let text = r#"{"Data":{"PodDeviceEntries":[{"PodUID":"a","ContainerName":"c","ResourceName":"r/x",
            "DeviceIDs":["1","2"],"AllocResp":""}],"RegisteredDevices":{}},"Checksum":0}"#;
        assert_eq!(parse(text.as_bytes()).unwrap().entries[0].ids, ["1", "2"]);
    }

    #[test]
    fn fields_of_later_kubelets_do_not_disturb() {
        let text = r#"{"Data":{"PodDeviceEntries":[{"PodUID":"a","ContainerName":"c","ResourceName":"r/x","New":{"a":[1]},
            "DeviceIDs":{"0":["1"]}}],"RegisteredDevices":null,"More":7},"Checksum":0,"Version":"v3"}"#;
        assert_eq!(parse(text.as_bytes()).unwrap().entries.len(), 1);
    }

    #[test]
    fn a_fresh_kubelet_has_given_nothing_away() {
        let text = r#"{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{}},"Checksum":3401}"#;
        assert_eq!(parse(text.as_bytes()).unwrap(), Checkpoint::default());
    }

    #[test]
    fn what_is_not_a_checkpoint_proves_nothing() {
        for text in
            ["", "{", "[]", "null", "{}", r#"{"Data":null}"#, r#"{"Data":{"PodDeviceEntries":[{}]}}"#, "\u{0}\u{0}"]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_missing_file_is_an_answer_and_a_broken_one_is_an_error_that_names_it() {
        for mode in [IoMode::Auto, IoMode::Plain] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("kubelet_internal_checkpoint");
            let (runtime, chosen) = Runtime::start(mode).unwrap();
            let read = || runtime.block_on(read(chosen.kind, folder.path()));
            assert_eq!(read().unwrap(), Checkpoint::default());
            std::fs::write(&path, WITH_NUMA).unwrap();
            assert_eq!(read().unwrap().entries.len(), 2);
            std::fs::write(&path, "garbage").unwrap();
            let message = read().unwrap_err().to_string();
            assert!(message.contains("kubelet_internal_checkpoint") && message.contains("line 1"), "{message}");
            std::fs::remove_file(&path).unwrap();
            std::fs::create_dir(&path).unwrap();
            let message = read().unwrap_err().to_string();
            assert!(message.contains("kubelet_internal_checkpoint") && message.contains("folder"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&content);
        }

        #[test]
        fn any_truncation_is_an_error(length in 0..WITH_NUMA.len()) {
            prop_assert!(parse(WITH_NUMA.as_bytes().get(..length).unwrap()).is_err());
        }
    }
}
