//! Entries that cannot stand together: the later one is rejected.

use super::*;

/// The problem with the last entry of a document whose others live.
fn conflict(entries: &[&str]) -> String {
    let parsed = read(&own(entries));
    let [problem] = parsed.problems.as_slice() else { panic!("{:?}", parsed.problems) };
    let first = entries[0].split(' ').nth(1).unwrap();
    assert_eq!(names(&parsed.permit), [first], "the first entry lives");
    problem.to_string()
}

#[test]
fn one_device_cannot_belong_to_two_resources() {
    let problem = conflict(&["10DE:1EB8 a.com/x", "10de:1eb8 b.com/y"]);
    assert!(
        problem.starts_with(
            "4:5: permittedHostDevices.pciHostDevices[1]: b.com/y selects PCI 10de:1eb8, which a.com/x selects already \
             (permittedHostDevices.pciHostDevices[0] in line 3); let one resource"
        ),
        "{problem}"
    );
    let text = "permittedHostDevices: {mediatedDevices: [{mdevNameSelector: GRID T4, resourceName: a.b/c}, {mdevNameSelector: ' GRID_T4', resourceName: a.b/d}]}";
    assert!(problems(text)[0].contains("which a.b/c selects already"), "{:?}", problems(text));
}

#[test]
fn two_resources_cannot_share_a_variable() {
    for (entries, variable) in [
        (["10de:1eb8 a.com/x.y", "10de:1eb9 a.com/x_y"], "PCI_RESOURCE_A_COM_X_Y"),
        (["10de:1eb8 a.com/x", "10de:1eb9 a.com/X"], "PCI_RESOURCE_A_COM_X"),
        (["M a.com/x", "N a.com/X"], "MDEV_PCI_RESOURCE_A_COM_X"),
        (["10de:1eb8 a.com/x", "10de:1eb9 b.com/y envAliases: [PCI_RESOURCE_A_COM_x]"], "PCI_RESOURCE_A_COM_x"),
        (["10de:1eb8 a.com/x envAliases: [Q]", "10de:1eb9 b.com/y envAliases: [Q]"], "Q"),
        (["10de:1eb8 a.com/x envAliases: [PCI_RESOURCE_B_COM_Y]", "10de:1eb9 b.com/y"], "PCI_RESOURCE_B_COM_Y"),
    ] {
        let problem = conflict(&entries);
        assert!(problem.contains(&format!("would share the variable {variable} with a.com/x")), "{problem}");
        assert!(problem.contains("in line 3"), "{problem}");
    }
}

#[test]
fn variables_of_different_prefixes_do_not_collide() {
    good(&own(&["10de:1eb8 a.com/x", "M a.com/X"]));
    good(&own(&["10de:1eb8 a.com/x-y", "10de:1eb9 a.com/x_y"]));
}

#[test]
fn a_collision_in_the_second_entry_of_a_resource_rejects_that_entry_alone() {
    let parsed = read(&own(&["10de:1eb8 a.com/x", "M b.com/y", "N b.com/y envAliases: [PCI_RESOURCE_A_COM_X]"]));
    assert_eq!(parsed.problems.len(), 1);
    assert_eq!(parsed.permit.get("b.com/y").unwrap().mdev.len(), 1);
}

#[test]
fn the_same_entry_twice_is_a_notice() {
    let text = own(&["10DE:1EB8 a.com/x", "10de:1eb8 a.com/x envAliases: [A]"]);
    let [notice] = notices(&text).try_into().unwrap();
    assert!(
        notice.contains(
            "a.com/x selects PCI 10de:1eb8 a second time (first: permittedHostDevices.pciHostDevices[0] in line 3)"
        ),
        "{notice}"
    );
    let permit = good(&text).permit;
    assert_eq!((permit.resources().len(), permit.resources()[0].origins.len()), (1, 1));
    assert_eq!(permit.resources()[0].aliases, ["A"]);
}

#[test]
fn entries_of_one_resource_must_agree_on_who_serves_it() {
    let problem = conflict(&["10de:1eb8 a.com/x", "10de:1eb9 a.com/x externalResourceProvider: true"]);
    assert!(
        problem.contains("externalResourceProvider of a.com/x is true here and false in another entry"),
        "{problem}"
    );
    assert!(problem.contains("pciHostDevices[0] in line 3"), "{problem}");
}

#[test]
fn a_rejected_entry_claims_nothing() {
    // The second entry is rejected, so its selector and its alias are free for the third and fourth.
    let text = own(&[
        "10de:1eb8 a.com/x",
        "10de:1eb8 b.com/y envAliases: [Q]",
        "10de:0003 c.com/z envAliases: [Q]",
        "10de:0004 B.com/y",
    ]);
    let parsed = read(&text);
    assert_eq!(names(&parsed.permit), ["a.com/x", "c.com/z"]);
    assert_eq!(parsed.problems.len(), 2);
}
