//! What vfiod needs of KubeVirt: the resource type of its CR, and a CR with what is permitted.

use super::{kubectl::Kubectl, setting::Setting};
use anyhow::Result;
use std::fs;

/// An entry of `permittedHostDevices`: list, selector field, selector, resource.
pub(super) type Entry = (&'static str, &'static str, &'static str, &'static str);

/// KubeVirt's documented example.
pub(super) const SEED: [Entry; 3] = [
    ("pciHostDevices", "pciVendorSelector", "10DE:1EB8", super::node::GPU),
    ("pciHostDevices", "pciVendorSelector", "8086:6F54", super::node::QAT),
    ("mediatedDevices", "mdevNameSelector", "GRID T4-1Q", super::node::VGPU),
];

const TYPE: &str = r"apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: kubevirts.kubevirt.io}
spec:
  group: kubevirt.io
  scope: Namespaced
  names: {kind: KubeVirt, listKind: KubeVirtList, plural: kubevirts, singular: kubevirt}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: v1
kind: Namespace
metadata: {name: kubevirt}
";

/// Installs the type, and a CR that permits [`SEED`].
pub(super) fn install(kubectl: &Kubectl, setting: &Setting) -> Result<()> {
    let file = setting.at("kubevirt.yaml");
    fs::write(&file, TYPE)?;
    kubectl.apply(&file)?;
    kubectl.text(&["wait", "--for=condition=Established", "crd/kubevirts.kubevirt.io", "--timeout=60s"])?;
    permit(kubectl, setting, &SEED)
}

/// Writes the CR anew, with `entries`.
pub(super) fn permit(kubectl: &Kubectl, setting: &Setting, entries: &[Entry]) -> Result<()> {
    let list = |name: &str| {
        let of = entries.iter().filter(|(list, ..)| *list == name);
        of.map(|(_, field, selector, resource)| {
            serde_json::json!({(*field): selector, "resourceName": resource, "externalResourceProvider": true})
        })
        .collect::<Vec<_>>()
    };
    let devices =
        serde_json::json!({"pciHostDevices": list("pciHostDevices"), "mediatedDevices": list("mediatedDevices")});
    let cr = serde_json::json!({
        "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt", "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"configuration": {"permittedHostDevices": devices}},
    });
    let file = setting.at("cr.json");
    fs::write(&file, cr.to_string())?;
    kubectl.apply(&file)
}
