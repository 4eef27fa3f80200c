//! Which resources are served, and that nothing served is said loudly.

use super::*;

fn cr(entries: &[(&str, &str)]) -> String {
    let line = |(index, (name, external)): (usize, &(&str, &str))| {
        format!("      - {{pciVendorSelector: '10de:000{index}', resourceName: {name}{external}}}\n")
    };
    let entries: String = entries.iter().enumerate().map(line).collect();
    format!("kind: KubeVirt\nspec:\n  configuration:\n    permittedHostDevices:\n      pciHostDevices:\n{entries}")
}

fn served(text: &str, mode: ServeMode) -> Vec<String> {
    parse(text, mode).unwrap().permit.served().map(|resource| resource.name.to_string()).collect()
}

#[test]
fn of_a_cr_only_marked_entries_are_served_unless_forced() {
    let text = cr(&[
        ("a.com/x", ", externalResourceProvider: true"),
        ("b.com/y", ", externalResourceProvider: false"),
        ("c.com/z", ""),
    ]);
    assert_eq!(served(&text, ServeMode::Auto), ["a.com/x"]);
    assert_eq!(served(&text, ServeMode::External), ["a.com/x"]);
    assert_eq!(served(&text, ServeMode::All), ["a.com/x", "b.com/y", "c.com/z"]);
}

#[test]
fn of_other_documents_everything_is_served_unless_forced() {
    let text = own(&["10de:1eb8 a.com/x externalResourceProvider: true", "10de:1eb9 b.com/y"]);
    assert_eq!(served(&text, ServeMode::Auto), ["a.com/x", "b.com/y"]);
    assert_eq!(served(&text, ServeMode::External), ["a.com/x"]);
}

#[test]
fn devices_of_resources_that_are_not_served_are_still_known() {
    let permit = good(&cr(&[("a.com/x", "")])).permit;
    let resource = permit.resource_of(&pci("10de:0000")).unwrap();
    assert!(!resource.is_served());
    assert_eq!(resource.serving, Serving::Unmarked);
}

#[test]
fn nothing_served_of_several_permitted_is_said_with_the_remedy() {
    let text = cr(&[("a.com/x", ""), ("b.com/y", "")]);
    assert_eq!(good(&text).permit.idle(), Some(Idle { permitted: 2 }));
    let [notice] = notices(&text).try_into().unwrap();
    assert!(notice.contains("of 2 permitted resources none is served") && notice.contains("--serve all"), "{notice}");
    assert_eq!(parse(&text, ServeMode::All).unwrap().permit.idle(), None);
    assert_eq!(parse(&text, ServeMode::All).unwrap().notices, []);
}
