//! The hot paths, as often as said, and the first look at so many devices:
//! `hot_paths allocate|allocate-8|granted|preferred|event|start COUNT`.
//!
//! `cargo xtask test instructions` counts their instructions under callgrind: the count does not depend on what else the
//! machine does, so it shows a path that became longer where a time would not.

use std::{collections::BTreeSet, error::Error, sync::Arc, time::Duration};
use vfiod_core::{
    allocator::{Register, put_allocate_response, wire},
    device::{Bdf, Binding, DevNodes, Device, Group, Kind, Member, Node, PciId},
    inventory::{Completeness, Inventory},
    permit::{ServeMode, parse},
};

const PERMIT: &str = "
permittedHostDevices:
  pciHostDevices:
  - {pciVendorSelector: '10de:1eb8', resourceName: a.com/gpu}
";
const DEVICES: u32 = 4096;
const NOW: Duration = Duration::from_secs(100);

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (path, count) = (args.next().unwrap_or_default(), args.next().unwrap_or_default().parse::<u32>()?);
    let (mut inventory, mut devices, mut groups) = (Inventory::default(), Vec::new(), Vec::new());
    inventory.set_permit(Arc::new(parse(PERMIT, ServeMode::All)?.permit));
    let mut nodes = DevNodes { container: true, ..DevNodes::default() };
    let size = if path == "start" { count } else { DEVICES };
    for number in 0..size {
        let [_, _, bus, device] = number.to_be_bytes();
        let bdf = Bdf::new(0, bus, device >> 3, device & 7).ok_or("no such address")?;
        let kind = Kind::Pci { pci_id: PciId { vendor: 0x10de, product: 0x1eb8 }, class: 0x03_0200, physfn: None };
        let binding = Binding::Vfio("vfio-pci".into());
        let numa = Some(number % 2);
        let device = Device { id: bdf.into(), kind, binding, group: Some(number), numa, cdevs: Default::default() };
        groups.push(Group { id: number, noiommu: false, members: [Member::from(&device)].into() });
        devices.push(device);
        nodes.groups.insert(number);
    }
    let ids: Vec<String> = devices.iter().map(|device| device.id.to_string()).collect();
    let complete = Completeness { pci: true, mdev: true, unreadable: BTreeSet::new() };
    inventory.scanned(devices, groups, Some(nodes), &complete);
    let resource = inventory.settle(NOW).opened.pop().ok_or("nothing is permitted")?;

    let mut message = Vec::new();
    match path.as_str() {
        "allocate" | "allocate-8" => {
            let register = Register::default();
            let requests: Vec<Vec<u8>> = ids.chunks(if path == "allocate" { 1 } else { 8 }).map(request).collect();
            for request in requests.iter().cycle().take(count as usize) {
                let grants = register.grant(&resource, &wire::allocate_request(request)?, NOW)?;
                message.clear();
                put_allocate_response(&mut message, &resource, &grants);
                register.take().ok_or("the grant is not noted")?;
            }
        }
        // What the reactor makes of a grant.
        "granted" => {
            let register = Register::default();
            for (number, id) in (0..count).zip(ids.iter().cycle()) {
                let now = NOW + Duration::from_millis(number.into());
                register.grant(&resource, &[[id]], now)?;
                inventory.answered(&register.take().ok_or("the grant is not noted")?);
                inventory.settle(now);
            }
        }
        "preferred" => {
            let mut wish = ids.clone();
            // An order that no cache foresees.
            wish.sort_by_key(|id| id.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())));
            let mut wish = container(&wish);
            wish.extend([3 << 3, 8]); // how many: 8
            for _ in 0..count {
                message.clear();
                resource.prefer_encoded(&wish, NOW, &mut message)?;
            }
        }
        "event" => {
            for number in 0..count {
                let node = Node::Group(number % DEVICES);
                for exists in [false, true] {
                    inventory.node_changed(&node, exists);
                    inventory.settle(NOW + Duration::from_secs(20) * number);
                    message = resource.list().to_bytes();
                }
            }
        }
        "start" => message = resource.list().to_bytes(),
        _ => return Err("usage: hot_paths allocate|allocate-8|granted|preferred|event|start COUNT".into()),
    }
    std::hint::black_box(message);
    Ok(())
}

/// A request with one container that names these ids.
fn request(ids: &[String]) -> Vec<u8> {
    let mut request = Vec::new();
    wire::put_field(&mut request, 1, &container(ids));
    request
}

/// The fields of one container that name these ids.
fn container(ids: &[String]) -> Vec<u8> {
    let mut container = Vec::new();
    ids.iter().for_each(|id| wire::put_field(&mut container, 1, id.as_bytes()));
    container
}
