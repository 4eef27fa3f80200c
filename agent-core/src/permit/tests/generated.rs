//! Generated documents: what is written is permitted, and one bad entry never takes another with it.

use super::*;
use proptest::prelude::*;
use std::{collections::BTreeMap, fmt::Write as _};

/// An entry: a selector that is unique by its number, and one of a few resources.
#[derive(Debug, Clone)]
struct Planned {
    selector: u16,
    mdev: bool,
    resource: u8,
}

/// Entries with selectors that differ.
fn plan() -> impl Strategy<Value = Vec<Planned>> {
    prop::collection::btree_map(any::<u16>(), (any::<bool>(), 0..6u8), 1..20).prop_map(|entries| {
        entries.into_iter().map(|(selector, (mdev, resource))| Planned { selector, mdev, resource }).collect()
    })
}

impl Planned {
    fn resource(&self) -> String {
        format!("vendor.com/Resource_{}", self.resource)
    }

    fn device(&self) -> Device {
        if self.mdev {
            mdev(&format!("Type {:04X}", self.selector))
        } else {
            pci(&format!("10de:{:04x}", self.selector))
        }
    }

    fn line(&self) -> String {
        let selector = if self.mdev {
            format!("mdevNameSelector: \"Type_{:04X}\"", self.selector)
        } else {
            format!("pciVendorSelector: 10DE:{:04X}", self.selector)
        };
        format!("  - {selector}\n    resourceName: {}\n", self.resource())
    }
}

/// The document of a plan; `spoilt` entries get a field that nobody knows.
fn document(plan: &[Planned], spoilt: Option<usize>) -> String {
    let mut text = "permittedHostDevices:\n".to_owned();
    for (list, is_mdev) in [("pciHostDevices", false), ("mediatedDevices", true)] {
        _ = writeln!(text, "  {list}:");
        for (index, entry) in plan.iter().enumerate().filter(|(_, entry)| entry.mdev == is_mdev) {
            text += &entry.line();
            if spoilt == Some(index) {
                text += "    colour: red\n";
            }
        }
    }
    text
}

proptest! {
    #[test]
    fn what_is_written_is_permitted(plan in plan()) {
        let permit = good(&document(&plan, None)).permit;
        let mut expected = BTreeMap::<_, usize>::new();
        for entry in &plan {
            prop_assert_eq!(resource_of(&permit, &entry.device()), Some(entry.resource()));
            *expected.entry(entry.resource()).or_default() += 1;
        }
        let found: BTreeMap<_, _> =
            permit.resources().iter().map(|r| (r.name.to_string(), r.pci.len() + r.mdev.len())).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn one_bad_entry_never_takes_another_with_it(plan in plan(), spoilt in any::<prop::sample::Index>()) {
        let spoilt = spoilt.index(plan.len());
        let parsed = read(&document(&plan, Some(spoilt)));
        prop_assert_eq!(parsed.problems.len(), 1);
        for (index, entry) in plan.iter().enumerate() {
            let expected = (index != spoilt).then(|| entry.resource());
            prop_assert_eq!(resource_of(&parsed.permit, &entry.device()), expected);
        }
    }

    #[test]
    fn a_reload_with_a_bad_entry_changes_no_resource_but_follows_the_others(
        before in plan(),
        after in plan(),
        spoilt in any::<prop::sample::Index>(),
    ) {
        let spoilt = spoilt.index(after.len());
        let old = good(&document(&before, None)).permit;
        let new = Permit::succeeding(&old, read(&document(&after, Some(spoilt)))).permit;
        let kept = after[spoilt].resource();
        if let Some(resource) = old.get(&kept) {
            prop_assert!(resource.is_same_definition(new.get(&kept).unwrap()));
        }
        // Every resource is the old one, or made of the new document's good entries: of all of them, unless it is a new
        // resource that lost some to a kept definition.
        for resource in new.resources() {
            let before = old.get(resource.name.as_str());
            if before.is_some_and(|before| before.is_same_definition(resource)) {
                continue;
            }
            let mine = |(index, entry): &(usize, &Planned)| *index != spoilt && entry.resource() == resource.name.as_str();
            let (fed, lost): (Vec<_>, Vec<_>) = after.iter().enumerate().filter(mine).partition(|(_, entry)| {
                resource_of(&new, &entry.device()).as_deref() == Some(resource.name.as_str())
            });
            prop_assert_eq!(fed.len(), resource.pci.len() + resource.mdev.len());
            prop_assert!(before.is_none() || lost.is_empty(), "{:?} lost {:?}", resource, lost);
        }
    }

    #[test]
    fn mdev_names_are_normalized_alike_on_both_sides(name in "[ A-Za-z0-9_.-]{0,12}", pad in " {0,3}") {
        let padded = format!("{pad}{name}{pad}");
        let once = normal_mdev_name(&padded).into_owned();
        prop_assert_eq!(normal_mdev_name(&once), once.as_str(), "normal form is stable");
        prop_assert_eq!(normal_mdev_name(&padded), normal_mdev_name(&name));
        let text = format!("permittedHostDevices: {{mediatedDevices: [{{mdevNameSelector: '{padded}', resourceName: a.b/c}}]}}");
        let parsed = read(&text);
        prop_assert_eq!(parsed.permit.resource_of(&mdev(&name)).is_some(), !once.is_empty());
        let underscored = mdev(&name.trim().replace(' ', "_"));
        prop_assert_eq!(parsed.permit.resource_of(&underscored).is_some(), !once.is_empty());
    }
}
