//! What `vfiod devices -o json` writes. Stable: `docs/DEVICES-JSON.md` describes every field, and a test holds it to that.

use serde::Serialize;

/// The whole answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceList {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) complete: bool,
    pub(super) devices: Vec<Entry>,
    pub(super) iommu_groups: Vec<GroupEntry>,
}

/// One device under the resource that permits it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) resource: Option<String>,
    pub(super) served: bool,
    pub(super) pci: Option<PciEntry>,
    pub(super) mdev: Option<MdevEntry>,
    pub(super) driver: Option<String>,
    pub(super) vfio: bool,
    pub(super) iommu_group: Option<u32>,
    pub(super) numa_node: Option<u32>,
    pub(super) nodes: Vec<String>,
    pub(super) health: String,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) next_step: Option<String>,
    pub(super) owner: Option<OwnerEntry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PciEntry {
    pub(super) id: String,
    pub(super) class: String,
    pub(super) physical_function: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MdevEntry {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) type_id: String,
    pub(super) parent: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnerEntry {
    pub(super) namespace: Option<String>,
    pub(super) pod: Option<String>,
    pub(super) pod_uid: Option<String>,
    pub(super) container: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupEntry {
    pub(super) id: u32,
    pub(super) viable: bool,
    pub(super) no_iommu: bool,
    pub(super) members: Vec<MemberEntry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemberEntry {
    pub(super) name: String,
    pub(super) driver: Option<String>,
    pub(super) viable: bool,
}

impl DeviceList {
    /// A group; they are in the order of their numbers.
    pub(super) fn group(&self, id: u32) -> Option<&GroupEntry> {
        self.iommu_groups.binary_search_by_key(&id, |group| group.id).ok().and_then(|at| self.iommu_groups.get(at))
    }
}

impl Default for DeviceList {
    fn default() -> Self {
        let (devices, iommu_groups) = (Vec::new(), Vec::new());
        Self { api_version: "vfiod.dev/v1", kind: "DeviceList", complete: false, devices, iommu_groups }
    }
}
