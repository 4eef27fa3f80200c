//! The kinds of documents.

use super::*;

const CR: &str = "apiVersion: kubevirt.io/v1
kind: KubeVirt
metadata: {name: kubevirt, namespace: kubevirt, annotations: {anything: goes}}
spec:
  certificateRotateStrategy: {}
  configuration:
    developerConfiguration: {featureGates: [HostDevices]}
    permittedHostDevices:
      pciHostDevices:
      - {pciVendorSelector: 10DE:1EB8, resourceName: nvidia.com/T4, externalResourceProvider: true, someday: new}
status: {phase: Deployed}
";

#[test]
fn the_seed_is_read_to_the_letter() {
    let permit = good(SEED).permit;
    assert_eq!(names(&permit), ["nvidia.com/TU104GL_Tesla_T4", "intel.com/qat", "nvidia.com/GRID_T4-1Q"]);
    assert_eq!(resource_of(&permit, &pci("10de:1eb8")).as_deref(), Some("nvidia.com/TU104GL_Tesla_T4"));
    assert_eq!(resource_of(&permit, &pci("8086:6f54")).as_deref(), Some("intel.com/qat"));
    assert_eq!(resource_of(&permit, &mdev("GRID T4-1Q")).as_deref(), Some("nvidia.com/GRID_T4-1Q"));
    assert_eq!(resource_of(&permit, &pci("10de:1eb9")), None);
    assert!(permit.resources().iter().all(|resource| resource.is_served()));
    assert_eq!(*permit.settings(), Settings::default());
}

#[test]
fn every_kind_of_document_permits_the_same() {
    for text in [
        SEED.to_owned(),
        SEED.replace('\n', "\r\n"),
        format!("\u{feff}{SEED}"),
        format!("---\n{SEED}---\n"),
        format!("%YAML 1.2\n--- # a comment\n{SEED}...\n"),
        format!("apiVersion: vfiod.dev/v1alpha1\nkind: VfiodConfig\n{SEED}"),
        format!("{SEED}  imagePullPolicy: Always\n"),
    ] {
        assert_eq!(names(&good(&text).permit).len(), 3, "{text}");
    }
}

#[test]
fn the_bare_section_is_a_document() {
    let text = own(&["10de:1eb8 nvidia.com/T4", "GRID_T4-1Q nvidia.com/GRID_T4-1Q"]);
    assert_eq!(names(&good(&text).permit), ["nvidia.com/T4", "nvidia.com/GRID_T4-1Q"]);
}

#[test]
fn json_is_read_too() {
    let compact = r#"{"configuration":{"permittedHostDevices":{"pciHostDevices":[{"pciVendorSelector":"10DE:1EB8","resourceName":"nvidia.com\/T4"}]}}}"#;
    let tabs = "{\n\t\"permittedHostDevices\": {\n\t\t\"mediatedDevices\": [\n\t\t\t{\"mdevNameSelector\": \"GRID T4-1Q\", \"resourceName\": \"nvidia.com/T4\"}\n\t\t]\n\t}\n}\n";
    for text in [compact, tabs] {
        assert_eq!(names(&good(text).permit), ["nvidia.com/T4"], "{text}");
    }
}

#[test]
fn a_cr_may_hold_what_vfiod_does_not_know() {
    let parsed = good(CR);
    assert_eq!(names(&parsed.permit), ["nvidia.com/T4"]);
    assert_eq!(parsed.notices, []);
}

#[test]
fn a_cr_without_permits_serves_nothing_and_says_so() {
    for text in [
        "kind: KubeVirt",
        "kind: KubeVirt\nspec: {}",
        "kind: KubeVirt\nspec:\n  configuration:\n",
        "kind: KubeVirt\nspec: {configuration: {permittedHostDevices: }}",
        "kind: KubeVirt\nspec: {configuration: {permittedHostDevices: {pciHostDevices: }}}",
    ] {
        let parsed = good(text);
        assert_eq!(parsed.permit.resources(), []);
        assert!(parsed.notices.iter().any(|n| n.what.contains("serves nothing") && !n.remedy.is_empty()), "{text}");
    }
}

#[test]
fn an_empty_section_is_valid_and_says_that_nothing_is_served() {
    for text in ["permittedHostDevices: {}", "permittedHostDevices:", "configuration: {permittedHostDevices: null}"] {
        let parsed = good(text);
        assert_eq!(parsed.permit.idle(), Some(Idle { permitted: 0 }));
        assert!(notices(text).iter().any(|notice| notice.contains("serves nothing")), "{text}");
    }
}

/// `kubectl get kubevirt -o yaml`
fn list(kind: &str, items: &[&str]) -> String {
    let item = |text: &&str| format!("- {}\n", text.trim_end().replace('\n', "\n  "));
    format!("apiVersion: v1\nkind: {kind}\nmetadata: {{}}\nitems:\n{}", items.iter().map(item).collect::<String>())
}

#[test]
fn the_only_cr_of_a_list_counts() {
    for text in [list("List", &[CR]), list("KubeVirtList", &[CR]), list("List", &["kind: Namespace\nmetadata: {}", CR])]
    {
        let permit = good(&text).permit;
        assert_eq!(names(&permit), ["nvidia.com/T4"], "{text}");
        assert!(permit.resources()[0].origins[0].field.starts_with("items["));
    }
}

#[test]
fn two_crs_in_a_list_are_an_error_that_names_both() {
    let text = list("List", &[CR, &CR.replace("name: kubevirt,", "name: other,")]);
    let problem = rejected(&text);
    assert!(problem.contains("KubeVirt kubevirt/kubevirt in line 5"), "{problem}");
    assert!(problem.contains("KubeVirt kubevirt/other in line 16"), "{problem}");
}

#[test]
fn a_list_without_a_cr_is_an_error() {
    for text in [list("List", &["kind: Pod"]), "kind: List".into(), "kind: List\nitems: []".into()] {
        assert!(rejected(&text).contains("kind KubeVirt"), "{text}");
    }
}

#[test]
fn of_several_documents_the_only_cr_counts() {
    let text = format!("---\nkind: Namespace\n---\n{CR}---\n");
    assert_eq!(names(&good(&text).permit), ["nvidia.com/T4"]);
    let problem = rejected(&format!("{CR}---\n{SEED}"));
    assert!(problem.contains("in line 1 and") && problem.contains("in line 13"), "{problem}");
}

#[test]
fn a_document_of_the_wrong_shape_is_rejected_with_place_field_and_remedy() {
    for (text, expected) in [
        ("", "1:1: the document is empty; write permittedHostDevices: {} if nothing is to be permitted"),
        ("# nothing\n", "1:1: the document is empty"),
        ("- a\n", "1:1: the document is a list; write a mapping"),
        ("hello", "1:1: the document is a single value; write a mapping"),
        ("kind: ConfigMap\n", "1:7: kind: a document of kind ConfigMap permits no devices; give a KubeVirt CR"),
        ("envNames: both\n", "1:1: the document has no permittedHostDevices; add it"),
        ("configuration: {}\n", "1:16: configuration: has no permittedHostDevices; add it"),
        ("configuration: [a]\n", "1:16: configuration: is a list; write a mapping"),
        ("permitedHostDevices: {}\n", "1:1: permitedHostDevices: unknown field; did you mean permittedHostDevices?"),
        (
            "configuration:\n  permittedhostdevices: {}\n",
            "2:3: configuration.permittedhostdevices: unknown field; did you mean permittedHostDevices?",
        ),
        ("spec: {configuration: {}}", "1:7: spec: stands in a KubeVirt CR, and kind is missing; add kind: KubeVirt"),
        ("apiVersion: kubevirt.io/v1\nspec: {}", "1:13: apiVersion: \"kubevirt.io/v1\" belongs to a KubeVirt CR"),
        (
            "apiVersion: vfiod.dev/v2\npermittedHostDevices: {}",
            "1:13: apiVersion: \"vfiod.dev/v2\" is not a version of this configuration; write vfiod.dev/v1alpha1",
        ),
        ("permittedHostDevices: []", "1:23: permittedHostDevices: is a list; write a mapping"),
        ("permittedHostDevices: none", "1:23: permittedHostDevices: \"none\" is a single value; write a mapping"),
        (
            "permittedHostDevices:\n  pciHostDevices: {a: b}",
            "2:19: permittedHostDevices.pciHostDevices: is a mapping; write a list",
        ),
        (
            "permittedHostDevices:\n  pciHostDevice: []",
            "2:3: permittedHostDevices.pciHostDevice: unknown field; did you mean pciHostDevices?",
        ),
        (
            "permittedHostDevices:\n  gpus: []",
            "2:3: permittedHostDevices.gpus: unknown field; known here: pciHostDevices, mediatedDevices, usb",
        ),
        (
            "permittedHostDevices: {}\nconfiguration:\n  permittedHostDevices: {}",
            "3:25: configuration.permittedHostDevices: devices are permitted twice: here and in line 1",
        ),
        ("kind: KubeVirt\nspec: text", "2:7: spec: \"text\" is a single value; write a mapping"),
        ("kind: KubeVirt\nspec: {configuration: []}", "2:23: spec.configuration: is a list; write a mapping"),
        (
            "kind: KubeVirt\nspec: {configuration: {permittedHostDevices: {usb: 3}}}",
            "2:52: spec.configuration.permittedHostDevices.usb: \"3\" is a single value; write a list",
        ),
    ] {
        let problem = rejected(text);
        assert!(problem.starts_with(expected), "{text:?}\n   says {problem}\nexpected {expected}");
    }
}

#[test]
fn a_syntax_error_has_a_place_and_says_what_to_do() {
    for (text, place, word) in [
        ("permittedHostDevices:\n\tpciHostDevices: []\n", "2:", "indent with spaces"),
        ("permittedHostDevices: {\n", "2:1", "close what is still open"),
        ("permittedHostDevices:\n  a: b: c\n", "2:", "correct the YAML"),
        ("a: *nobody\n", "1:4", "anchor"),
        ("a: &a [*a]\n", "1:8", "write the value out"),
        ("a: 1\nb: 2\na: 3\n", "3:1", "appears twice; first in line 1"),
        ("{\"a\": 1, \"a\": 2}", "1:10", "appears twice; first in line 1"),
        ("[a]: b\n", "1:1", "stands as a key"),
        ("a\0b: c\n", "1:", "syntax error"),
    ] {
        let problem = rejected(text);
        assert!(problem.starts_with(place) && problem.contains(word), "{text:?} says {problem}");
    }
}

#[test]
fn what_a_cr_seems_to_misspell_is_worth_a_notice() {
    let text = CR.replace("pciHostDevices:", "pciHostDevice:");
    assert!(notices(&text).iter().any(|notice| notice.contains("did you mean pciHostDevices?")));
    let text = CR.replace("someday", "externalResourceProvder");
    assert!(notices(&text).iter().any(|notice| notice.contains("did you mean externalResourceProvider?")));
}

#[test]
fn every_example_of_the_reference_is_good() {
    let reference = include_str!("../../../../docs/CONFIG.md");
    let blocks: Vec<_> = reference.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        assert_eq!(good(block).notices, [], "{block}");
    }
}
