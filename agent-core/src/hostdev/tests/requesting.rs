use super::*;

fn units(document: &str) -> Vec<String> {
    requests(&machine(document))
        .requests
        .iter()
        .map(|request| format!("{}={}", request.resource, request.units))
        .collect()
}

fn problems(document: &str) -> Vec<String> {
    told(&requests(&machine(document)).problems)
}

#[test]
fn every_entry_of_both_lists_asks_for_one_unit() {
    assert_eq!(units(SEED), ["nvidia.com/TU104GL_Tesla_T4=1", "nvidia.com/GRID_T4-1Q=1", "intel.com/qat=1"]);
    assert_eq!(units(&vmi(&["a=x.y/z", "b=x.y/w", "c=x.y/z"], &["d=x.y/w"])), ["x.y/z=2", "x.y/w=2"]);
    assert_eq!(units(&vmi(&[], &[])), Vec::<String>::new());
}

#[test]
fn what_the_machine_limits_itself_to_takes_the_place_of_the_count() {
    let limited = |limits: &str, requests: &str| {
        vmi(&[], &["a=x.y/z", "b=x.y/z"]).replace(
            "    devices:",
            &format!(
                "    resources: {{limits: {{memory: 1Gi{limits}}}, requests: {{cpu: 200m{requests}}}}}\n    devices:"
            ),
        )
    };
    let one = limited(", x.y/z: 1", ", x.y/z: '1'");
    assert_eq!(units(&one), ["x.y/z=1"]);
    assert_eq!(
        problems(&one),
        [
            "spec.domain.resources.limits[x.y/z]: takes the place of what virt-controller counts: the pod gets 1 of x.y/z \
          for 2 entries; leave it out: virt-controller counts the entries"
        ]
    );
    assert!(problems(&limited("", ", x.y/z: 3"))[0].contains("asks for 3 and is limited to 2"));
    assert_eq!(problems(&limited(", x.y/z: 2", ", x.y/z: 2")), Vec::<String>::new());
    assert_eq!(
        problems(&limited(", a.b/c: 7", "")),
        Vec::<String>::new(),
        "other resources are nobody's business here"
    );
    let half = read(&limited(", x.y/z: 500m", ""));
    assert!(told(&half.problems)[0].contains("\"500m\" is no whole number"), "{:?}", half.problems);
}

#[test]
fn a_resource_that_is_not_permitted_is_named_with_its_path() {
    let parsed = config(
        "permittedHostDevices:\n  pciHostDevices: [{pciVendorSelector: '8086:6F54', resourceName: intel.com/qat}]\n  usb: \
         [{resourceName: x.y/usb, selectors: [{vendor: '0951', product: '1666'}]}]\n",
    );
    let all = |document: &str| told(&permitted(&machine(document), &parsed));
    assert_eq!(all(&vmi(&["u=x.y/usb"], &["q=intel.com/qat"])), Vec::<String>::new());
    assert_eq!(
        all(&vmi(&[], &["q=intel.com/QAT", "r=x.y/other"])),
        [
            "spec.domain.devices.hostDevices[0].deviceName: \"intel.com/QAT\" is not permitted by the configuration; did \
             you mean intel.com/qat? The name must be exact",
            "spec.domain.devices.hostDevices[1].deviceName: \"x.y/other\" is not permitted by the configuration; add the \
             resource to permittedHostDevices, or name one that is there",
        ]
    );
}

#[test]
fn a_kubevirt_cr_without_a_list_forbids_nothing() {
    let document = machine(&vmi(&[], &["q=intel.com/qat"]));
    assert_eq!(permitted(&document, &config("kind: KubeVirt\nspec: {configuration: {}}\n")), []);
    let empty = config("kind: KubeVirt\nspec: {configuration: {permittedHostDevices: {}}}\n");
    assert_eq!(permitted(&document, &empty).len(), 1);
}

#[test]
fn equal_names_in_one_list_are_refused_and_across_lists_are_not() {
    assert_eq!(problems(&vmi(&["a=x.y/z"], &["a=x.y/w"])), Vec::<String>::new());
    assert_eq!(
        problems(&vmi(&["a=x.y/z", "a=x.y/z"], &[])),
        [
            "spec.domain.devices.gpus[1].name: \"a\" is the name of spec.domain.devices.gpus[0] too; give it another name: \
          libvirt refuses two equal aliases"
        ]
    );
}
