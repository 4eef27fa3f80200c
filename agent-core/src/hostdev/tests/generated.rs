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
