//! A permit outlives the process as a text.

use super::*;
use proptest::prelude::*;
use std::fmt::Write as _;

#[test]
fn a_bad_entry_keeps_its_last_good_definition_over_a_restart() {
    let document = |selector: &str| {
        format!(
            "kind: KubeVirt\nspec: {{configuration: {{permittedHostDevices: {{pciHostDevices: [{{pciVendorSelector: '{selector}', resourceName: intel.com/qat, externalResourceProvider: true}}]}}}}}}\n"
        )
    };
    let first = good(&document("8086:6F54")).permit;
    let in_force = Permit::succeeding(&first, read(&document("8086"))).permit;
    let restarted = parse_object(&in_force.to_object(), ServeMode::Auto).unwrap().permit;
    assert!(restarted.get("intel.com/qat").unwrap().is_same_definition(first.get("intel.com/qat").unwrap()));
}

proptest! {
    #[test]
    fn any_permit_is_read_back_as_it_was(
        pci in prop::collection::btree_map(any::<u16>(), (0..4u8, any::<bool>()), 0..8),
        mdev in prop::collection::btree_map("[^\\p{C}\\p{Z}]{1,12}( [^\\p{C}\\p{Z}]{1,6})?", 0..4u8, 0..8),
        mode in prop::sample::select(vec![ServeMode::Auto, ServeMode::All, ServeMode::External]),
    ) {
        let mut text = "kind: KubeVirt\nspec:\n configuration:\n  permittedHostDevices:\n   pciHostDevices:\n".to_owned();
        for (product, (resource, external)) in pci {
            let _ = writeln!(text, "   - {{pciVendorSelector: '10de:{product:04x}', resourceName: a.com/p{resource}, externalResourceProvider: {external}}}");
        }
        text += "   mediatedDevices:\n";
        for (name, resource) in mdev {
            let name = name.replace('\'', "''");
            let _ = writeln!(text, "   - {{mdevNameSelector: '{name}', resourceName: a.com/m{resource}}}");
        }
        let permit = parse(&text, mode).unwrap().permit;
        let again = parse_object(&permit.to_object(), mode).unwrap();
        prop_assert_eq!(&again.problems, &Vec::new());
        prop_assert!(Permit::diff(&permit, &again.permit).is_empty(), "{}", permit.to_object());
        prop_assert_eq!(permit.resources().len(), again.permit.resources().len());
    }
}
