use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

proptest! {
    /// Whatever stands in a file, reading it ends, and says where.
    #[test]
    fn no_text_is_too_odd_to_be_read(text in "(kind|VirtualMachineInstance|spec|domain|devices|gpus|name|: |- |\\{|\\}|\\[|\\]|,|\n| |\"|'|&a|\\*a|\\PC){0,60}") {
        match machines(&text) {
            Ok(read) => {
                for machine in &read.machines {
                    let _ = (requests(machine), assign(machine, &Environment::default(), EnvNames::Both, None));
                }
            }
            Err(problem) => prop_assert!(problem.at.line >= 1),
        }
    }

    /// Whatever the environment holds, no device is given twice within a list, and a machine without a problem has one
    /// device for each entry.
    #[test]
    fn a_machine_that_starts_has_a_device_of_its_own_for_every_entry(
        gpus in proptest::collection::vec(0..3u8, 0..4),
        host_devices in proptest::collection::vec(3..6u8, 0..4),
        values in proptest::collection::vec(("(PCI|MDEV_PCI|USB)_RESOURCE_X_Y_R[0-5]", "((0000:0[0-9]:00\\.0|10000:01:00\\.0|1:[0-9]|83b8f4f2-509f-382f-3c1e-e6bfe0fa100[0-9]| |),?){0,5}"), 0..8),
    ) {
        let named = |prefix: &str, all: &[u8]| -> Vec<String> {
            all.iter().enumerate().map(|(i, n)| format!("{prefix}{i}=x.y/r{n}")).collect()
        };
        let (gpus, host_devices) = (named("g", &gpus), named("h", &host_devices));
        let as_text = |all: &[String]| all.iter().map(String::as_str).map(str::to_owned).collect::<Vec<_>>();
        let (gpus, host_devices) = (as_text(&gpus), as_text(&host_devices));
        let document = vmi(
            &gpus.iter().map(String::as_str).collect::<Vec<_>>(),
            &host_devices.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        let machine = machine(&document);
        let env: Environment = values.into_iter().collect();
        let assignment = assign(&machine, &env, EnvNames::KubeVirt, None);
        if assignment.problems.is_empty() && requests(&machine).problems.is_empty() {
            let entries: BTreeSet<usize> = assignment.devices.iter().map(|device| device.entry).collect();
            prop_assert_eq!(entries.len(), machine.entries.len());
            prop_assert_eq!(assignment.devices.len(), machine.entries.len());
            let sources: BTreeSet<_> = assignment.devices.iter().map(|device| device.source).collect();
            prop_assert_eq!(sources.len(), assignment.devices.len());
            let aliases: BTreeSet<_> = assignment.devices.iter().map(|device| &device.alias).collect();
            prop_assert_eq!(aliases.len(), assignment.devices.len());
        }
    }
}

proptest! {
    /// Whatever stands in an environment, reading it ends; what is read back is the same.
    #[test]
    fn no_environment_is_too_odd_to_be_read(text in "(PCI_RESOURCE_A|=|,|\n|\0|'|\"|#|export | |\\PC){0,40}", pairs in proptest::collection::btree_map("[A-Z][A-Z_0-9-]{0,20}", "[a-f0-9:.,-]{0,20}", 0..10)) {
        let _ = Environment::parse(&text);
        let printed: String = pairs.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let of_process: String = pairs.iter().map(|(name, value)| format!("{name}={value}\0")).collect();
        let expected: Environment = pairs.into_iter().collect();
        prop_assert_eq!(Environment::parse(&printed), Ok(expected.clone()));
        prop_assert_eq!(Environment::parse(&of_process), Ok(expected));
    }
}

#[test]
fn a_machine_of_thousands_of_entries_is_read_and_served() {
    let entries: String = (0..9_000).map(|n| format!("      - {{name: d{n}, deviceName: x.y/r{}}}\n", n % 3)).collect();
    let document =
        format!("kind: VirtualMachineInstance\nspec:\n  domain:\n    devices:\n      hostDevices:\n{entries}");
    let addresses = |kind: usize| {
        let address = |n: usize| format!("{:04x}:{:02x}:{:02x}.0", kind, n / 32 % 256, n % 32);
        (0..2048).map(address).collect::<Vec<_>>().join(",")
    };
    let env: Environment = (0..3).map(|kind| (format!("PCI_RESOURCE_X_Y_R{kind}"), addresses(kind))).collect();
    let machine = machine(&document);
    assert_eq!(requests(&machine).requests.len(), 3);
    let assignment = assign(&machine, &env, EnvNames::KubeVirt, None);
    assert_eq!(assignment.devices.len(), 3 * 2048);
    assert_eq!(assignment.problems.len(), 9_000 - 3 * 2048);
}
