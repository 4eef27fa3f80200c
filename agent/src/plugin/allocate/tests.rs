//! Both ends of the convention: what `Allocate` answers, virt-launcher turns into exactly the devices that were granted.

use super::*;
use proptest::prelude::*;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use vfiod_core::{
    allocator::Register,
    device::{Bdf, Binding, DevNodes, Device, DeviceId, Group, Kind, Mdev, Member},
    hostdev::{Assignment, Environment, Source, assign, machines, requests},
    inventory::{Completeness, Inventory},
    permit::{Parsed, ServeMode, parse},
    variables::EnvNames,
};

const PCI: &str = "example.com/Card_2.x-A";
const MDEV: &str = "example.com/GRID_T4-1Q";
const MIXED: &str = "example.com/mixed";

fn config(env_names: &str) -> Parsed {
    let text = format!(
        "envNames: {env_names}\npermittedHostDevices:\n  pciHostDevices:\n  - {{pciVendorSelector: '10DE:1EB8', \
         resourceName: {PCI}}}\n  - {{pciVendorSelector: '8086:6F54', resourceName: {MIXED}, envAliases: [MINE]}}\n  \
         mediatedDevices:\n  - {{mdevNameSelector: GRID T4-1Q, resourceName: {MDEV}}}\n  - {{mdevNameSelector: GRID \
         T4-2Q, resourceName: {MIXED}}}\n"
    );
    let parsed = parse(&text, ServeMode::All).unwrap();
    assert_eq!(parsed.problems, []);
    parsed
}

fn device(id: DeviceId, number: u32, kind: Kind) -> Device {
    let binding = Binding::Vfio("vfio-pci".into());
    Device { id, kind, binding, group: Some(number), numa: None, cdevs: Default::default() }
}

fn pci(domain: u32, number: u32, pci_id: &str) -> Device {
    let id = Bdf::new(domain, number as u8, 0, 0).unwrap().into();
    device(id, number, Kind::Pci { pci_id: pci_id.parse().unwrap(), class: 0x03_0000, physfn: None })
}

fn mdev(number: u32, type_name: &str) -> Device {
    let id = format!("83b8f4f2-509f-382f-3c1e-e6bfe0fa{number:04x}").parse().unwrap();
    let type_name = type_name.into();
    device(
        id,
        number,
        Kind::Mdev(Box::new(Mdev { type_name, type_id: "nvidia-222".into(), parent: "0000:d8:00.0".into() })),
    )
}

/// A host with eight devices of each selector, those of PCI in `domain`.
fn inventory(parsed: &Parsed, domain: u32) -> Inventory {
    let mut devices = Vec::new();
    for number in 0..8 {
        devices.push(pci(domain, number, "10de:1eb8"));
        devices.push(pci(domain, 8 + number, "8086:6f54"));
        devices.push(mdev(16 + number, "GRID T4-1Q"));
        devices.push(mdev(24 + number, "GRID T4-2Q"));
    }
    let group =
        |device: &Device| Group { id: device.group.unwrap(), noiommu: false, members: [Member::from(device)].into() };
    let groups: Vec<Group> = devices.iter().map(group).collect();
    let nodes =
        DevNodes { container: true, groups: groups.iter().map(|group| group.id).collect(), ..DevNodes::default() };
    let mut inventory = Inventory::default();
    inventory.set_permit(Arc::new(parsed.permit.clone()));
    let complete = Completeness { pci: true, mdev: true, unreadable: BTreeSet::default() };
    inventory.scanned(devices, groups, Some(nodes), &complete);
    inventory
}

/// What came out at the other end.
struct Round {
    /// What `Allocate` granted, by resource, in its order.
    granted: Vec<(String, Vec<String>)>,
    assignment: Assignment,
}

/// One container is given `wanted`: of a resource, named in `gpus` or in `hostDevices`, the devices at these places of
/// its list, wrapped around.
fn round(env_names: &str, domain: u32, wanted: &[(&str, bool, Vec<usize>)]) -> Round {
    let parsed = config(env_names);
    let mut inventory = inventory(&parsed, domain);
    let resources = inventory.settle(Duration::ZERO).opened;
    let register = Register::default();
    let (mut granted, mut variables) = (Vec::new(), Vec::new());
    let (mut gpus, mut host_devices) = (Vec::new(), Vec::new());
    for (name, in_gpus, picks) in wanted {
        let resource = resources.iter().find(|resource| resource.name().as_str() == *name).unwrap();
        let table = resource.table();
        let mut ids: Vec<String> = Vec::new();
        for pick in picks {
            let id = table.slots()[pick % table.slots().len()].text().to_owned();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let grants = register.grant(resource, &[ids.as_slice()], Duration::ZERO).unwrap();
        variables.extend(environment(resource, &grants[0]));
        let list = if *in_gpus { &mut gpus } else { &mut host_devices };
        for number in 0..ids.len() {
            let alias = name.split('/').nth(1).unwrap().replace('.', "-");
            list.push(format!("{{name: {alias}-{number}, deviceName: {name}}}"));
        }
        granted.push(((*name).to_owned(), ids));
    }
    let document = format!(
        "kind: VirtualMachineInstance\nspec: {{domain: {{devices: {{gpus: [{}], hostDevices: [{}]}}}}}}\n",
        gpus.join(", "),
        host_devices.join(", ")
    );
    let mut read = machines(&document).unwrap();
    assert_eq!(read.problems, []);
    let machine = read.machines.remove(0);
    for request in requests(&machine).requests {
        let (_, ids) = granted.iter().find(|(name, _)| name == request.resource.as_str()).unwrap();
        assert_eq!(request.units, ids.len() as u64, "the kubelet is asked for what is granted");
    }
    let environment: Environment = variables.into_iter().collect();
    Round { granted, assignment: assign(&machine, &environment, EnvNames::KubeVirt, Some(&parsed.permit)) }
}

/// The devices that a list of aliases ended up with, in the order of the entries.
fn given(assignment: &Assignment, resource: &str) -> Vec<String> {
    let alias = resource.split('/').nth(1).unwrap().replace('.', "-");
    let mut devices: Vec<_> =
        assignment.devices.iter().filter(|device| device.alias.contains(&format!("-{alias}-"))).collect();
    devices.sort_by_key(|device| device.entry);
    devices.into_iter().map(|device| device.source.to_string()).collect()
}

fn picks() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0..16_usize, 1..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever ids the kubelet sends, in whatever order: the first entry gets the first of them, and so on.
    #[test]
    fn what_allocate_answers_becomes_exactly_the_granted_devices(
        env_names in prop::sample::select(vec!["both", "kubevirt"]),
        domain in prop::sample::select(vec![0, 1, 0xffff]),
        cards in (any::<bool>(), picks()),
        slices in (any::<bool>(), picks()),
    ) {
        let wanted = [(PCI, cards.0, cards.1), (MDEV, slices.0, slices.1)];
        let Round { granted, assignment } = round(env_names, domain, &wanted);
        prop_assert_eq!(&assignment.problems, &[]);
        for (resource, ids) in granted {
            prop_assert_eq!(given(&assignment, &resource), ids);
        }
    }

    /// A resource of two kinds: no device is lost and none is invented, but KubeVirt cannot tell the entries apart.
    #[test]
    fn a_resource_of_two_kinds_loses_no_device_and_is_told(in_gpus: bool, picks in picks()) {
        let Round { granted, assignment } = round("both", 0, &[(MIXED, in_gpus, picks)]);
        let sources: BTreeSet<String> = assignment.devices.iter().map(|device| device.source.to_string()).collect();
        prop_assert_eq!(sources, granted[0].1.iter().cloned().collect::<BTreeSet<_>>());
        let kinds: BTreeSet<bool> =
            assignment.devices.iter().map(|device| matches!(device.source, Source::Mdev(_))).collect();
        prop_assert_eq!(assignment.problems.is_empty(), kinds.len() < 2, "{:?}", assignment.problems);
    }

    /// A domain that virt-launcher does not read is refused by name, once for every device of it.
    #[test]
    fn a_domain_of_five_digits_is_never_taken_for_another(picks in picks()) {
        let Round { granted, assignment } = round("both", 0x10000, &[(PCI, true, picks)]);
        prop_assert_eq!(&assignment.devices, &[]);
        for id in &granted[0].1 {
            let named = assignment.problems.iter().filter(|problem| problem.what.contains(id.as_str())).count();
            prop_assert_eq!(named, 1, "{}", id);
        }
    }
}

#[test]
fn the_spelling_of_the_guide_alone_is_what_virt_launcher_does_not_read() {
    let Round { assignment, .. } = round("seed", 0, &[(PCI, true, vec![3])]);
    assert_eq!(assignment.devices, []);
    let problem = assignment.problems[0].to_string();
    assert!(
        problem.contains("PCI_RESOURCE_EXAMPLE_COM_Card_2_x-A is set, which virt-launcher does not read"),
        "{problem}"
    );
}
