//! A KubeVirt CR, as far as vfiod needs it.

use kube::{ResourceExt, api::DynamicObject};
use serde_json::{Value, json};
use std::fmt;

/// What a KubeVirt CR permits.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// A KubeVirt CR in JSON with nothing in it but `permittedHostDevices`: an edit of anything else changes nothing.
    pub text: String,
}

impl Document {
    /// From an object as the API server has it. A section in the wrong shape is kept as it is: whoever reads it says so.
    pub(super) fn of(object: &DynamicObject) -> Self {
        let permits = object.data.pointer("/spec/configuration/permittedHostDevices").unwrap_or(&Value::Null);
        let text = json!({
            "kind": "KubeVirt",
            "spec": { "configuration": { "permittedHostDevices": permits } },
        });
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any(), text: text.to_string() }
    }

    /// How messages call it.
    #[must_use]
    pub fn title(&self) -> String {
        format!("KubeVirt {}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vfiod_core::permit::{ServeMode, parse_object};

    fn object(spec: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt",
            "metadata": { "name": "kubevirt", "namespace": "kubevirt", "resourceVersion": "7" },
            "spec": spec, "status": { "phase": "Deployed" },
        }))
        .unwrap()
    }

    #[test]
    fn only_what_is_permitted_is_kept() {
        let spec = |version| {
            json!({ "imageTag": version, "configuration": { "developerConfiguration": {}, "permittedHostDevices": {
                "pciHostDevices": [{ "pciVendorSelector": "8086:6F54", "resourceName": "intel.com/qat",
                    "externalResourceProvider": true }] } } })
        };
        let document = Document::of(&object(spec("v1")));
        assert_eq!(document, Document::of(&object(spec("v2"))));
        let parsed = parse_object(&document.text, ServeMode::Auto).unwrap();
        assert!(parsed.permit.get("intel.com/qat").unwrap().is_served());
    }

    #[test]
    fn a_cr_without_permits_permits_nothing() {
        for spec in
            [json!({}), json!({ "configuration": null }), json!({ "configuration": { "permittedHostDevices": null } })]
        {
            let parsed = parse_object(&Document::of(&object(spec)).text, ServeMode::Auto).unwrap();
            assert!(parsed.problems.is_empty() && parsed.permit.resources().is_empty());
        }
    }

    #[test]
    fn a_section_in_the_wrong_shape_is_left_to_be_rejected() {
        let document = Document::of(&object(json!({ "configuration": { "permittedHostDevices": [1] } })));
        let problem = parse_object(&document.text, ServeMode::Auto).unwrap_err();
        assert!(problem.message().to_string().contains("permittedHostDevices"), "{problem}");
    }
}
