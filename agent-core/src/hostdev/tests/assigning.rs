use super::*;

const QAT: &str = "PCI_RESOURCE_INTEL_COM_QAT";

#[test]
fn the_seeds_machine_gets_the_devices_of_its_variables() {
    assert_eq!(
        started(SEED, SEED_ENV),
        [
            "ua-hostdevice-quickaccess1 0000:65:00.0",
            "ua-gpu-gpu1 0000:3b:00.0",
            "ua-gpu-gpu2 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001",
        ]
    );
}

#[test]
fn addresses_go_to_entries_in_their_order_and_a_comma_may_stand_at_the_end() {
    let document = vmi(&[], &["a=intel.com/qat", "b=intel.com/qat"]);
    let expected = ["ua-hostdevice-a 0000:65:00.0", "ua-hostdevice-b 0000:66:00.0"];
    for value in ["0000:65:00.0,0000:66:00.0", "0000:65:00.0,0000:66:00.0,"] {
        assert_eq!(started(&document, &format!("{QAT}={value}")), expected);
    }
}

#[test]
fn an_address_that_two_resources_carry_is_given_once() {
    let document = vmi(&["a=x.y/one", "b=x.y/two"], &[]);
    let env = "PCI_RESOURCE_X_Y_ONE=0000:01:00.0,0000:02:00.0\nPCI_RESOURCE_X_Y_TWO=0000:01:00.0,0000:02:00.0";
    assert_eq!(started(&document, env), ["ua-gpu-a 0000:01:00.0", "ua-gpu-b 0000:02:00.0"]);
}

#[test]
fn functions_come_before_mdevs_and_usb_devices_last() {
    let document = vmi(&[], &["u=x.y/usb", "m=x.y/mdev", "p=x.y/pci"]);
    let env = "USB_RESOURCE_X_Y_USB=1:4\nPCI_RESOURCE_X_Y_PCI=0000:01:00.0\n\
               MDEV_PCI_RESOURCE_X_Y_MDEV=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
    assert_eq!(
        started(&document, env),
        ["ua-hostdevice-p 0000:01:00.0", "ua-hostdevice-m 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "ua-usb-host-u 1:4",]
    );
}

#[test]
fn a_missing_variable_is_named_with_the_entry() {
    assert_eq!(
        failures(&vmi(&["g=nvidia.com/GPU"], &[]), ""),
        ["spec.domain.devices.gpus[0]: gets no device: none of PCI_RESOURCE_NVIDIA_COM_GPU, \
          MDEV_PCI_RESOURCE_NVIDIA_COM_GPU is set; does a device plugin serve nvidia.com/GPU, and is this the environment \
          of the container compute?"]
    );
}

#[test]
fn the_spelling_of_the_user_guide_is_not_what_virt_launcher_reads() {
    let document = vmi(&["g=nvidia.com/Tesla"], &[]);
    let env = "PCI_RESOURCE_NVIDIA_COM_Tesla=0000:3b:00.0";
    let failure = &failures(&document, env)[0];
    assert!(failure.contains("PCI_RESOURCE_NVIDIA_COM_Tesla is set, which virt-launcher does not read"), "{failure}");
    for spelling in [EnvNames::Seed, EnvNames::Both] {
        let assignment = assign(&machine(&document), &environment(env), spelling, None);
        assert_eq!(devices(&assignment), ["ua-gpu-g 0000:3b:00.0"], "{spelling}");
        assert_eq!(assignment.devices[0].variable, "PCI_RESOURCE_NVIDIA_COM_Tesla");
    }
}

#[test]
fn an_alias_counts_where_both_spellings_do() {
    let parsed = config(
        "permittedHostDevices:\n  pciHostDevices:\n  - {pciVendorSelector: '8086:6F54', resourceName: intel.com/qat, \
         envAliases: [PCI_RESOURCE_INTEL_QAT]}\n",
    );
    let document = machine(&vmi(&[], &["q=intel.com/qat"]));
    let env = environment("PCI_RESOURCE_INTEL_QAT=0000:65:00.0");
    let with = |spelling| assign(&document, &env, spelling, Some(&parsed.permit));
    assert_eq!(devices(&with(EnvNames::Both)), ["ua-hostdevice-q 0000:65:00.0"]);
    let strict = told(&with(EnvNames::KubeVirt).problems);
    assert!(strict[0].contains("PCI_RESOURCE_INTEL_QAT is set: does it belong to this resource?"), "{strict:?}");
}

#[test]
fn spellings_that_differ_are_told_and_one_counts() {
    let document = vmi(&["g=nvidia.com/Tesla"], &[]);
    let env = "PCI_RESOURCE_NVIDIA_COM_TESLA=0000:3b:00.0\nPCI_RESOURCE_NVIDIA_COM_Tesla=0000:af:00.0";
    let assignment = launched(&document, env);
    assert_eq!(devices(&assignment), ["ua-gpu-g 0000:3b:00.0"]);
    assert!(told(&assignment.notices)[0].contains("hold different addresses; those of PCI_RESOURCE_NVIDIA_COM_TESLA"));
}

#[test]
fn too_few_addresses_are_counted_against_the_entries() {
    let document = vmi(&[], &["a=intel.com/qat", "b=intel.com/qat", "c=intel.com/qat"]);
    for (value, held) in [
        ("", "is empty"),
        (",", "is empty"),
        ("0000:65:00.0", "holds 1 address"),
        ("0000:65:00.0,0000:66:00.0,", "holds 2 addresses"),
    ] {
        let all = failures(&document, &format!("{QAT}={value}"));
        let expected = format!(
            "spec.domain.devices.hostDevices[2]: gets no device: {QAT} {held}, and 3 entries of hostDevices want one each"
        );
        assert!(all.last().unwrap().starts_with(&expected), "{all:?}");
    }
}

#[test]
fn addresses_that_nobody_takes_are_told() {
    let assignment = launched(&vmi(&[], &["a=intel.com/qat"]), &format!("{QAT}=0000:65:00.0,0000:66:00.0"));
    assert_eq!(assignment.problems, []);
    assert!(told(&assignment.notices)[0].contains("holds 0000:66:00.0 that no entry takes"), "{assignment:?}");
}

#[test]
fn a_resource_in_both_lists_gets_one_device_twice() {
    let document = machine(&vmi(&["g=intel.com/qat"], &["h=intel.com/qat"]));
    let env = environment(&format!("{QAT}=0000:65:00.0,0000:66:00.0"));
    let assignment = assign(&document, &env, EnvNames::KubeVirt, None);
    assert_eq!(devices(&assignment), ["ua-hostdevice-h 0000:65:00.0", "ua-gpu-g 0000:65:00.0"]);
    assert_eq!(
        told(&requests(&document).problems),
        ["spec.domain.devices.hostDevices[0]: intel.com/qat is named by spec.domain.devices.gpus[0] too: gpus and \
          hostDevices take from pools of their own, so both get the same device; name the resource in one of the two \
          lists only"]
    );
}

#[test]
fn a_device_that_two_lists_get_under_two_resources_is_told() {
    let env = "PCI_RESOURCE_X_Y_ONE=0000:01:00.0\nPCI_RESOURCE_X_Y_TWO=0000:01:00.0";
    let all = failures(&vmi(&["a=x.y/one"], &["b=x.y/two"]), env);
    assert_eq!(all.len(), 1);
    assert!(
        all[0].starts_with(
            "spec.domain.devices.hostDevices[0]: gets 0000:01:00.0, which spec.domain.devices.gpus[0] gets too"
        ),
        "{all:?}"
    );
}

#[test]
fn a_resource_of_two_kinds_gives_its_first_entry_two_devices() {
    let document = vmi(&["a=x.y/mixed", "b=x.y/mixed"], &[]);
    let env = "PCI_RESOURCE_X_Y_MIXED=0000:01:00.0\nMDEV_PCI_RESOURCE_X_Y_MIXED=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
    let assignment = launched(&document, env);
    assert_eq!(devices(&assignment), ["ua-gpu-a 0000:01:00.0", "ua-gpu-a 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"]);
    let all = told(&assignment.problems);
    assert!(all[0].starts_with("spec.domain.devices.gpus[0]: gets 2 devices"), "{all:?}");
    assert!(all[1].starts_with("spec.domain.devices.gpus[1]: gets no device"), "{all:?}");
}

#[test]
fn a_domain_of_five_digits_is_refused_as_virt_launcher_does() {
    let all = failures(&vmi(&[], &["q=intel.com/qat"]), &format!("{QAT}=10000:01:00.0"));
    assert_eq!(all.len(), 1);
    assert!(
        all[0].contains(
            "\"10000:01:00.0\" from PCI_RESOURCE_INTEL_COM_QAT, which has a PCI domain of more than four digits"
        ),
        "{all:?}"
    );
}

#[test]
fn what_is_no_address_is_shown_with_what_would_be_right() {
    for (variable, value, expected) in [
        ("PCI_RESOURCE", "0000:65:00", "is no PCI address;"),
        ("PCI_RESOURCE", "0000:65:00.8", "is no PCI address;"),
        ("PCI_RESOURCE", " 0000:65:00.0", "is no PCI address (there is a blank in it)"),
        ("PCI_RESOURCE", "0000:65:00.0 0000:66:00.0", "is no PCI address (there is a blank in it)"),
        ("PCI_RESOURCE", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "is no PCI address"),
        ("MDEV_PCI_RESOURCE", "83b8f4f2509f382f3c1ee6bfe0fa1001", "is no UUID of a mediated device"),
        ("MDEV_PCI_RESOURCE", "0000:65:00.0", "is no UUID of a mediated device"),
        ("USB_RESOURCE", "1-4", "is no USB device"),
        ("USB_RESOURCE", "1:0x4", "is no USB device"),
        ("USB_RESOURCE", "1:2:3", "is no USB device"),
    ] {
        // Blanks at the ends belong to the value of a process, and not to a line of `env`.
        let env = format!("{variable}_INTEL_COM_QAT={value}\0");
        let all = failures(&vmi(&[], &["q=intel.com/qat"]), &env);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].contains(expected), "{value}: {all:?}");
    }
}

#[test]
fn gpus_take_no_usb_devices() {
    let all = failures(&vmi(&["u=x.y/usb"], &[]), "USB_RESOURCE_X_Y_USB=1:4");
    assert!(all[0].contains("USB_RESOURCE_X_Y_USB is set: move the entry to hostDevices"), "{all:?}");
}

#[test]
fn an_empty_address_makes_no_device() {
    let all = failures(&vmi(&[], &["a=intel.com/qat", "b=intel.com/qat"]), &format!("{QAT}=,0000:65:00.0"));
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].starts_with("spec.domain.devices.hostDevices[0]: gets no device"), "{all:?}");
}
