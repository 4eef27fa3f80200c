//! Reloads: what is bad keeps its last good definition, everything else follows the new document.

use super::*;
use crate::variables::EnvNames;

/// `before` put in force, then `after`.
fn reload(before: &str, after: &str) -> (Permit, Parsed) {
    let before = good(before).permit;
    let after = Permit::succeeding(&before, read(after));
    (before, after)
}

fn selects(permit: &Permit, resource: &str) -> Vec<String> {
    let resource = permit.get(resource).unwrap_or_else(|| panic!("{resource} is gone"));
    resource.pci.iter().map(ToString::to_string).chain(resource.mdev.iter().cloned()).collect()
}

#[test]
fn a_good_document_is_followed_whatever_was_before() {
    let (before, after) = reload(
        &own(&["10de:0001 a.com/x", "10de:0002 b.com/y", "10de:0003 c.com/z"]),
        &own(&["10de:0001 a.com/x", "10de:0004 b.com/y", "10de:0003 d.com/w"]),
    );
    assert_eq!(after.problems, []);
    let name = |name: &str| vec![name.parse::<ResourceName>().unwrap()];
    assert_eq!(
        Permit::diff(&before, &after.permit),
        Diff { added: name("d.com/w"), removed: name("c.com/z"), changed: name("b.com/y"), settings: false }
    );
}

#[test]
fn moving_an_entry_is_no_change() {
    let (before, after) = reload(
        &own(&["10de:0001 a.com/x envAliases: [A]", "10de:0002 b.com/y", "10de:0003 a.com/x envAliases: [B]"]),
        &format!(
            "# moved\n{}",
            own(&["10de:0003 a.com/x envAliases: [B]", "10de:0002 b.com/y", "10de:0001 a.com/x envAliases: [A]"])
        ),
    );
    assert!(Permit::diff(&before, &after.permit).is_empty());
}

#[test]
fn a_resource_with_a_bad_entry_keeps_its_definition_as_a_whole() {
    let (before, after) = reload(
        &own(&["10de:0001 a.com/x", "M a.com/x", "10de:0002 b.com/y"]),
        &own(&["10de:0009 a.com/x", "M a.com/x envAliases: 3", "10de:0005 b.com/y"]),
    );
    assert_eq!(after.problems.len(), 1);
    assert_eq!(selects(&after.permit, "a.com/x"), ["10de:0001", "M"]);
    assert_eq!(selects(&after.permit, "b.com/y"), ["10de:0005"]);
    assert_eq!(Permit::diff(&before, &after.permit).changed, ["b.com/y".parse().unwrap()]);
    assert_eq!(resource_of(&after.permit, &pci("10de:0009")), None);
    let kept = after.notices.iter().find(|notice| notice.what.contains("keeps its last good definition")).unwrap();
    assert!(kept.to_string().contains("a.com/x keeps its last good definition (PCI 10de:0001, mdev M)"), "{kept}");
}

#[test]
fn a_resource_whose_name_became_bad_is_found_by_its_selector() {
    let (before, after) = reload(&own(&["10de:0001 a.com/x", "M b.com/y"]), &own(&["10de:0001 ax", "M b.com-y"]));
    assert_eq!(after.problems.len(), 2);
    assert!(Permit::diff(&before, &after.permit).is_empty());
}

#[test]
fn a_bad_entry_that_was_never_good_keeps_nothing() {
    let (_, after) = reload(&own(&["10de:0001 a.com/x"]), &own(&["10de:0007 gpu", "10de:0002 b.com/y envAliases: 3"]));
    assert_eq!(after.problems.len(), 2);
    assert_eq!(names(&after.permit), Vec::<&str>::new());
    assert!(
        after.notices.iter().any(|notice| notice.what.contains("every entry is rejected, so vfiod serves nothing"))
    );
}

#[test]
fn a_resource_that_loses_a_conflict_keeps_its_definition() {
    let (before, after) =
        reload(&own(&["10de:0001 a.com/x", "10de:0002 b.com/y"]), &own(&["10de:0001 a.com/x", "10de:0001 b.com/y"]));
    assert_eq!(after.problems.len(), 1);
    assert!(Permit::diff(&before, &after.permit).is_empty());
}

#[test]
fn a_kept_definition_outranks_new_entries_and_that_may_keep_more() {
    // a is bad and keeps 1; b wants 1, loses it, and keeps 2; c wants 2, loses it, and keeps 3; d is new and loses 3.
    let (before, after) = reload(
        &own(&["10de:0001 a.com/x", "10de:0002 b.com/x", "10de:0003 c.com/x"]),
        &own(&["10de: a.com/x", "10de:0001 b.com/x", "10de:0002 c.com/x", "10de:0003 d.com/x", "10de:0004 e.com/x"]),
    );
    let said: Vec<_> = after.problems.iter().map(ToString::to_string).collect();
    assert!(
        said.iter().any(|p| p.contains("b.com/x selects PCI 10de:0001, which a.com/x selects already")),
        "{said:#?}"
    );
    assert!(
        said.iter().any(|p| p.contains("d.com/x selects PCI 10de:0003, which c.com/x selects already")),
        "{said:#?}"
    );
    let diff = Permit::diff(&before, &after.permit);
    assert_eq!((diff.added, diff.removed, diff.changed), (vec!["e.com/x".parse().unwrap()], vec![], vec![]));
}

#[test]
fn a_kept_definition_gives_up_what_its_new_one_would_have_taken() {
    // The new a takes 5 and is bad: 5 is free for b.
    let (_, after) =
        reload(&own(&["10de:0001 a.com/x"]), &own(&["10de:0005 a.com/x envAliases: 3", "10de:0005 b.com/x"]));
    assert_eq!(selects(&after.permit, "a.com/x"), ["10de:0001"]);
    assert_eq!(selects(&after.permit, "b.com/x"), ["10de:0005"]);
}

#[test]
fn a_kept_variable_is_kept_too() {
    let (_, after) = reload(
        &own(&["10de:0001 a.com/x envAliases: [Q]"]),
        &own(&["10de:0001 a.com/x envAliases: [1]", "10de:0002 b.com/y envAliases: [Q]"]),
    );
    assert_eq!(names(&after.permit), ["a.com/x"]);
    assert!(after.problems.iter().any(|p| p.what.contains("would share the variable Q")), "{:?}", after.problems);
}

#[test]
fn a_definition_is_kept_over_any_number_of_reloads_and_comes_back_when_corrected() {
    let bad = own(&["10de: a.com/x"]);
    let mut permit = good(&own(&["10de:0001 a.com/x"])).permit;
    for _ in 0..3 {
        permit = Permit::succeeding(&permit, read(&bad)).permit;
        assert_eq!(selects(&permit, "a.com/x"), ["10de:0001"]);
    }
    permit = Permit::succeeding(&permit, read(&own(&["10de:0002 a.com/x"]))).permit;
    assert_eq!(selects(&permit, "a.com/x"), ["10de:0002"]);
}

#[test]
fn a_bad_setting_keeps_its_value_and_the_others_follow() {
    let settings = |text: &str| format!("permittedHostDevices: {{}}\n{text}");
    let (before, after) =
        reload(&settings("envNames: seed\nallowNoIommu: true\n"), &settings("envNames: sed\nallowNoIommu: false\n"));
    assert_eq!((after.permit.settings().env_names, after.permit.settings().allow_no_iommu), (EnvNames::Seed, false));
    assert!(Permit::diff(&before, &after.permit).settings);
    let (_, after) = reload(&settings("envNames: seed\n"), &settings(""));
    assert_eq!(after.permit.settings().env_names, EnvNames::Both);
}

#[test]
fn a_mark_that_changes_is_a_change() {
    let cr = |external: bool| {
        format!(
            "kind: KubeVirt\nspec: {{configuration: {{permittedHostDevices: {{pciHostDevices: [{{pciVendorSelector: '10de:1eb8', resourceName: a.b/c, externalResourceProvider: {external}}}]}}}}}}"
        )
    };
    let (before, after) = reload(&cr(true), &cr(false));
    assert_eq!(Permit::diff(&before, &after.permit).changed, ["a.b/c".parse().unwrap()]);
}
