//! The device manager's checkpoint file (checkpoint/checkpoint.go).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pod_devices::DevicesPerNuma;

/// The content of `kubelet_internal_checkpoint`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Checkpoint {
    /// One entry per pod, container and resource. Go writes an empty list as `null`.
    #[serde(serialize_with = "null_when_empty", deserialize_with = "empty_when_null")]
    pub pod_device_entries: Vec<PodDevicesEntry>,
    /// The ids that are healthy, by resource.
    #[serde(deserialize_with = "empty_when_null")]
    pub registered_devices: BTreeMap<String, Vec<String>>,
}

/// What one container was given of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PodDevicesEntry {
    /// UID of the pod.
    #[serde(rename = "PodUID")]
    pub pod_uid: String,
    /// Name of the container.
    pub container_name: String,
    /// Name of the resource.
    pub resource_name: String,
    /// Device ids by NUMA node, `-1` for none.
    #[serde(rename = "DeviceIDs", deserialize_with = "empty_when_null")]
    pub device_ids: DevicesPerNuma,
    /// The marshalled `ContainerAllocateResponse`; base64 in the file.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub alloc_resp: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    data: Checkpoint,
    checksum: u64,
}

impl Checkpoint {
    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, is not the expected JSON, or its checksum does not match.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let file: File = serde_json::from_slice(&text)?;
        if file.checksum != checksum(&serde_json::to_vec(&file.data)?) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "checkpoint is corrupted: wrong checksum"));
        }
        Ok(Some(file.data))
    }

    /// Writes a hidden temporary file in the same folder and renames it into place (`pkg/kubelet/util/store/filestore.go`,
    /// `writeFile`). It does not sync: a simulated kubelet need not survive a power cut.
    pub(super) fn write(self, path: &Path) -> io::Result<()> {
        let checksum = checksum(&serde_json::to_vec(&self)?);
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".").tempfile_in(folder)?;
        file.write_all(&serde_json::to_vec(&File { data: self, checksum })?)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// FNV-1a of 32 bits, as the kubelet uses (`pkg/kubelet/checkpointmanager/checksum/checksum.go`). The kubelet hashes a
/// dump of its Go structures; this hashes the JSON, so the number differs from a real kubelet's.
fn checksum(data: &[u8]) -> u64 {
    let hash = data.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    u64::from(hash)
}

fn null_when_empty<S: Serializer>(entries: &[PodDevicesEntry], out: S) -> Result<S::Ok, S::Error> {
    if entries.is_empty() { out.serialize_none() } else { entries.serialize(out) }
}

fn empty_when_null<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(input: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

fn to_base64<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
    let text: Option<String> = Option::deserialize(input)?;
    STANDARD.decode(text.unwrap_or_default()).map_err(serde::de::Error::custom)
}
