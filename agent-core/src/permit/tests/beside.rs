//! Settings in a file, permits in the KubeVirt CR.

use super::*;
use crate::variables::EnvNames;

const CR: &str = "KubeVirt kubevirt/kubevirt";

fn object(entries: &str) -> String {
    format!(
        r#"{{"kind":"KubeVirt","spec":{{"configuration":{{"permittedHostDevices":{{"pciHostDevices":[{entries}]}}}}}}}}"#
    )
}

const QAT: &str = r#"{"pciVendorSelector":"8086:6F54","resourceName":"intel.com/qat","externalResourceProvider":true}"#;

#[test]
fn settings_of_the_file_hold_for_what_the_cr_permits() {
    let beside = Beside::parse("envNames: kubevirt\nallowNoIommu: true\n", CR).unwrap();
    let parsed = parse_object(&object(QAT), ServeMode::Auto).unwrap().with_settings(&beside);
    assert_eq!(parsed.problems, []);
    assert_eq!(parsed.permit.settings().env_names, EnvNames::KubeVirt);
    assert!(parsed.permit.settings().allow_no_iommu && parsed.permit.get("intel.com/qat").unwrap().is_served());
}

#[test]
fn a_file_that_sets_nothing_is_as_good_as_none() {
    for text in ["", "---\n", "apiVersion: vfiod.dev/v1alpha1\nkind: VfiodConfig\n", "permittedHostDevices:\n"] {
        let beside = Beside::parse(text, CR).and_then(|beside| beside.at_start().map_err(|mut all| all.remove(0)));
        let parsed = parse_object(&object(QAT), ServeMode::Auto).unwrap().with_settings(&beside.unwrap());
        assert_eq!(parsed.permit.settings(), &Settings::default(), "{text:?}");
    }
}

#[test]
fn permits_in_both_are_rejected_with_both_named() {
    for text in [
        "envNames: both\npermittedHostDevices: {}\n",
        "configuration:\n  permittedHostDevices:\n    usb: []\n",
        "kind: KubeVirt\nspec: {}\n",
        "kind: List\nitems: []\n",
    ] {
        let problem = Beside::parse(text, CR).unwrap_err();
        assert!(problem.at.is_somewhere() && problem.to_string().contains(CR), "{problem}");
        assert!(problem.remedy.contains("--kubevirt"), "{problem}");
    }
}

#[test]
fn a_bad_setting_is_an_error_at_the_start_and_keeps_its_value_on_a_reload() {
    let bad = || Beside::parse("envNames: all\nreleaseWait: 3s\n", CR).unwrap();
    let problems = bad().at_start().unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    let first = Beside::parse("envNames: seed\n", CR).unwrap();
    let first = parse_object(&object(QAT), ServeMode::Auto).unwrap().with_settings(&first);
    let next = parse_object(&object(QAT), ServeMode::Auto).unwrap().with_settings(&bad());
    let next = Permit::succeeding(&first.permit, next);
    assert_eq!(next.permit.settings().env_names, EnvNames::Seed);
}

#[test]
fn what_is_said_of_an_object_names_fields_and_no_lines() {
    let clash = r#"{"pciVendorSelector":"8086:6F54","resourceName":"intel.com/other","externalResourceProvider":true}"#;
    let bad = r#"{"pciVendorSelector":"8086","resourceName":"intel.com/bad"}"#;
    let parsed = parse_object(&object(&format!("{QAT},{clash},{bad}")), ServeMode::Auto).unwrap();
    assert_eq!(parsed.problems.len(), 2, "{:?}", parsed.problems);
    for problem in &parsed.problems {
        let message = problem.message().to_string();
        assert!(message.contains("spec.configuration.permittedHostDevices.pciHostDevices["), "{message}");
        assert!(!message.contains("line") && !problem.at.is_somewhere(), "{message}");
    }
}
