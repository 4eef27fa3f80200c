//! Single entries: what they may say, and that a bad one rejects itself alone.

use super::*;
use std::collections::BTreeSet;

#[test]
fn pci_selectors_match_whatever_their_case() {
    for selector in ["10DE:1EB8", "10de:1eb8", "10dE:1Eb8"] {
        let permit = good(&own(&[&format!("{selector} a.com/x")])).permit;
        assert_eq!(resource_of(&permit, &pci("10de:1eb8")).as_deref(), Some("a.com/x"));
        assert_eq!(resource_of(&permit, &pci("10de:1eb9")), None);
    }
}

#[test]
fn mdev_selectors_take_blanks_as_underscores_and_mind_case() {
    for selector in ["GRID T4-1Q", "GRID_T4-1Q", "  GRID T4-1Q ", "GRID_T4-1Q\\t"] {
        let text = format!(
            "permittedHostDevices: {{mediatedDevices: [{{mdevNameSelector: \"{selector}\", resourceName: a.com/x}}]}}"
        );
        let permit = good(&text).permit;
        for name in ["GRID T4-1Q", "GRID_T4-1Q", " GRID T4-1Q", "GRID T4-1Q\n"] {
            assert_eq!(resource_of(&permit, &mdev(name)).as_deref(), Some("a.com/x"), "{selector:?} {name:?}");
        }
        for name in ["grid t4-1q", "GRID  T4-1Q", "GRIDT4-1Q", "GRID T4-1QX", ""] {
            assert_eq!(resource_of(&permit, &mdev(name)), None, "{selector:?} {name:?}");
        }
    }
}

#[test]
fn selectors_of_one_resource_add_up_over_both_kinds() {
    let text = own(&["10de:1eb8 a.com/x", "10de:1eb9 a.com/x", "GRID_T4-1Q a.com/x", "10de:0001 a.com/y"]);
    let permit = good(&text).permit;
    assert_eq!(names(&permit), ["a.com/x", "a.com/y"]);
    let resource = permit.get("a.com/x").unwrap();
    assert_eq!(resource.pci, ["10de:1eb8", "10de:1eb9"].map(|id| id.parse().unwrap()).into());
    assert_eq!(resource.mdev, BTreeSet::from(["GRID_T4-1Q".to_owned()]));
    assert_eq!(resource.origins.len(), 3);
}

/// The problem of the only bad entry of a document, whose other entry must live.
fn entry_problem(entry: &str) -> String {
    let text = format!(
        "permittedHostDevices:\n  pciHostDevices:\n  - {{pciVendorSelector: '8086:0001', resourceName: good.com/x}}\n  {entry}\n"
    );
    let parsed = read(&text);
    assert_eq!(names(&parsed.permit), ["good.com/x"], "{text}");
    match parsed.problems.as_slice() {
        [one] => one.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bad_entry_is_rejected_alone_with_place_field_value_and_remedy() {
    let path = "permittedHostDevices.pciHostDevices[1]";
    for (entry, expected) in [
        (
            "- {pciVendorSelector: '10DE', resourceName: a.com/x}",
            format!("4:25: {path}.pciVendorSelector: \"10DE\" is not vendor:product; write four hexadecimal digits"),
        ),
        ("- {resourceName: a.com/x}", format!("4:5: {path}.pciVendorSelector: is missing; add pciVendorSelector")),
        ("- {pciVendorSelector: '10de:1eb8'}", format!("4:5: {path}.resourceName: is missing; add resourceName")),
        (
            "- {pciVendorSelector: '10de:1eb8', resourceName: }",
            format!("4:50: {path}.resourceName: is missing; add resourceName"),
        ),
        (
            "- {pciVendorSelector: '10de:1eb8', resourceName: gpu}",
            format!("4:52: {path}.resourceName: \"gpu\" is not a resource name that the kubelet accepts: it has no /"),
        ),
        (
            "- {pciVendorSelector: '10de:1eb8', resourceName: 12}",
            format!("4:52: {path}.resourceName: \"12\" is a number or a boolean for YAML; put it in quotes: \"12\""),
        ),
        (
            "- {pciVendorSelector: '10de:1eb8', resourceName: [a]}",
            format!("4:52: {path}.resourceName: is a list; write a text here"),
        ),
        (
            "- {pciVendorSelector: '10de:1eb8', resourceName: a.com/x, externalResourceProvider: maybe}",
            format!("4:87: {path}.externalResourceProvider: \"maybe\" is not a boolean; write true or false"),
        ),
        (
            "- {pciVendorSelector: '10de:1eb8', resourceName: a.com/x, externalResourceProvider: 'true'}",
            format!("4:87: {path}.externalResourceProvider: \"true\" is a text; write true without quotes"),
        ),
        (
            "- {pciVendorSelector: '10de:1eb8', resourceName: a.com/x, resourcename: a}",
            format!("4:61: {path}.resourcename: unknown field; did you mean resourceName?"),
        ),
        (
            "- {pciVendorSelector: '10de:1eb8', resourceName: a.com/x, colour: a}",
            format!("4:61: {path}.colour: unknown field; known here: pciVendorSelector, resourceName"),
        ),
        (
            "- {pciVendorSelector: '10de:1eb8', resourceName: a.com/x, envAliases: [1A]}",
            format!("4:74: {path}.envAliases[0]: \"1A\" is not the name of an environment variable; write letters"),
        ),
        (
            "- {pciVendorSelector: '10de:1eb8', resourceName: a.com/x, envAliases: A}",
            format!("4:73: {path}.envAliases: \"A\" is a single value; write a list"),
        ),
        ("- nothing", format!("4:5: {path}: \"nothing\" is a single value; write a mapping")),
        ("-", format!("4:4: {path}: \"\" is nothing; write a mapping")),
    ] {
        let problem = entry_problem(entry);
        assert!(problem.starts_with(&expected), "{entry}\n   says {problem}\nexpected {expected}");
    }
}

#[test]
fn malformed_mdev_selectors_are_rejected() {
    for (selector, why) in
        [("\"  \"", "is blank"), ("\"a\\nb\"", "control character"), ("222", "quotes"), ("{}", "a mapping")]
    {
        let text = format!(
            "permittedHostDevices: {{mediatedDevices: [{{mdevNameSelector: {selector}, resourceName: a.b/c}}]}}"
        );
        let [problem] = problems(&text).try_into().unwrap();
        assert!(problem.contains("mediatedDevices[0].mdevNameSelector: ") && problem.contains(why), "{problem}");
    }
}

#[test]
fn every_problem_of_an_entry_is_told_at_once() {
    let text =
        own(&["10DE gpu externalResourceProvider: 3"]).replace("mdevName", "pciVendor").replace("mediated", "pciHost");
    assert_eq!(problems(&text).len(), 3, "{:?}", problems(&text));
}

#[test]
fn booleans_are_those_that_kubectl_takes() {
    for (word, value) in [("true", true), ("yes", true), ("On", true), ("FALSE", false), ("no", false), ("null", false)]
    {
        let text = own(&[&format!("10de:1eb8 a.com/x externalResourceProvider: {word}")]);
        assert_eq!(good(&text).permit.resources()[0].external, value, "{word}");
    }
}

#[test]
fn aliases_of_all_entries_are_gathered() {
    let text = own(&["10de:1eb8 a.com/x envAliases: [A, B]", "10de:1eb9 a.com/x envAliases: [B, C]", "M a.com/x"]);
    assert_eq!(good(&text).permit.resources()[0].aliases, ["A", "B", "C"]);
}

#[test]
fn an_alias_that_can_carry_nothing_is_worth_a_notice() {
    let text = own(&["10de:1eb8 a.com/x envAliases: [MDEV_A, PCI_RESOURCE_A, A]"]);
    let [notice] = notices(&text).try_into().unwrap();
    assert!(notice.contains("\"MDEV_A\" is never set"), "{notice}");
}

#[test]
fn a_cr_knows_no_aliases() {
    let text = "kind: KubeVirt\nspec: {configuration: {permittedHostDevices: {pciHostDevices: [\n  {pciVendorSelector: '10de:1eb8', resourceName: a.b/c, externalResourceProvider: true, envAliases: [X]}]}}}";
    let parsed = good(text);
    assert_eq!(parsed.permit.resources()[0].aliases, Vec::<String>::new());
    assert!(notices(text)[0].contains("is ignored"), "{:?}", notices(text));
}

#[test]
fn usb_entries_are_judged_and_said_to_be_not_served_yet() {
    let usb = |entry: &str| format!("permittedHostDevices:\n  usb:\n  - {entry}\n");
    let text = usb("{resourceName: a.com/stick, selectors: [{vendor: '0951', product: '1666'}]}");
    assert!(notices(&text).iter().any(|notice| notice.contains("a.com/stick is not served yet")));
    assert_eq!(good(&text).permit.resources(), []);
    for (entry, why) in [
        ("{resourceName: stick, selectors: [{vendor: '0951', product: '1666'}]}", "it has no /"),
        ("{resourceName: a.com/stick}", "usb[0].selectors: is missing"),
        ("{resourceName: a.com/stick, selectors: []}", "usb[0].selectors: is empty"),
        ("{resourceName: a.com/stick, selectors: [{vendor: '0951'}]}", "usb[0].selectors[0].product: is missing"),
        ("{resourceName: a.com/stick, selectors: [{vendor: 0951, product: '1666'}]}", "put it in quotes"),
        ("{resourceName: a.com/stick, selectors: [{vendor: 'xyz', product: '1666'}]}", "is not a USB number"),
        ("{resourceName: a.com/stick, selectors: [{vendor: '0951', product: '1666', serial: 3}]}", "unknown field"),
    ] {
        let [problem] = problems(&usb(entry)).try_into().unwrap();
        assert!(problem.contains(why), "{entry} says {problem}");
    }
}

#[test]
fn an_alias_of_yaml_stands_for_its_value() {
    let text = "permittedHostDevices:\n  pciHostDevices:\n  - {pciVendorSelector: '10de:1eb8', resourceName: &name a.com/x}\n  - {pciVendorSelector: '10de:1eb9', resourceName: *name}\n";
    assert_eq!(good(text).permit.resources()[0].pci.len(), 2);
}

#[test]
fn a_merge_key_is_said_to_be_not_read() {
    let problem = entry_problem("- {<<: {a: b}, pciVendorSelector: '10de:1eb8', resourceName: a.com/x}");
    assert!(problem.contains("merge keys are not read"), "{problem}");
}
