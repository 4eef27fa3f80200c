//! What the host has, whatever of it was read when.

use super::*;
use smallvec::smallvec;

fn touched(change: impl FnOnce(&mut Vec<DeviceId>)) -> BTreeSet<DeviceId> {
    let mut touched = Vec::new();
    change(&mut touched);
    touched.into_iter().collect()
}

fn set_device(host: &mut Host, id: DeviceId, device: Option<Device>) -> BTreeSet<DeviceId> {
    touched(|touched| host.set_device(id, device, touched))
}

fn members(host: &Host, group: GroupId) -> Vec<DeviceId> {
    host.members_of(group).collect()
}

fn host_with(ids: &[DeviceId]) -> (World, Host) {
    let mut world = World::new();
    ids.iter().for_each(|&id| world.plug(id));
    let mut host = Host::default();
    for device in world.devices.values() {
        set_device(&mut host, device.id, Some(device.clone()));
    }
    (world, host)
}

#[test]
fn devices_are_members_of_the_group_that_their_links_name_also_before_it_is_read() {
    let (_, host) = host_with(&[gpu(1), audio(1), gpu(2)]);
    assert_eq!(members(&host, 1), [gpu(1), audio(1)]);
    assert_eq!(host.group(2).unwrap().members.len(), 1);
}

#[test]
fn a_device_that_leaves_takes_its_membership_along_and_the_last_one_the_group() {
    let (world, mut host) = host_with(&[gpu(1), audio(1)]);
    assert_eq!(set_device(&mut host, audio(1), None), BTreeSet::from([gpu(1), audio(1)]));
    assert_eq!(members(&host, 1), [gpu(1)]);
    let moved = Device { group: Some(7), ..world.devices[&gpu(1)].clone() };
    set_device(&mut host, gpu(1), Some(moved));
    assert_eq!((host.group(1), members(&host, 7)), (None, vec![gpu(1)]));
}

#[test]
fn a_member_that_changes_its_driver_changes_the_group() {
    let (world, mut host) = host_with(&[gpu(1), audio(1)]);
    assert_eq!(host.group(1).unwrap().obstacle(), None);
    let on_host = Device { binding: super::host("snd_hda_intel"), ..world.devices[&audio(1)].clone() };
    assert!(set_device(&mut host, audio(1), Some(on_host)).contains(&gpu(1)));
    assert_eq!(host.group(1).unwrap().obstacle().unwrap().driver, "snd_hda_intel");
    assert_eq!(host.group(1).unwrap().members.len(), 2);
}

#[test]
fn what_was_read_of_a_group_is_kept_while_its_devices_change() {
    let (world, mut host) = host_with(&[gpu(1)]);
    let group = Group { noiommu: true, ..world.members(1).unwrap() };
    host.set_group(1, Some(group), &mut Vec::new());
    set_device(&mut host, gpu(1), Some(Device { binding: Binding::Unbound, ..world.devices[&gpu(1)].clone() }));
    assert!(host.group(1).unwrap().noiommu);
    host.set_group(1, None, &mut Vec::new());
    assert_eq!(members(&host, 1), [gpu(1)], "its link still names it");
}

#[test]
fn a_character_device_belongs_to_the_device_that_has_it_now() {
    let (world, mut host) = host_with(&[gpu(1), gpu(2)]);
    let with = |bus: u8, name: &str| Some(Device { cdevs: smallvec![name.into()], ..world.devices[&gpu(bus)].clone() });
    let users = |host: &mut Host, name: &str, exists| {
        touched(|touched| host.set_node(&DevNode::Cdev(name.into()), exists, touched))
    };
    set_device(&mut host, gpu(1), with(1, "vfio0"));
    assert_eq!(users(&mut host, "vfio0", true), BTreeSet::from([gpu(1)]));
    set_device(&mut host, gpu(1), with(1, "vfio1"));
    assert_eq!(users(&mut host, "vfio0", false), BTreeSet::new());
    set_device(&mut host, gpu(2), with(2, "vfio0"));
    assert_eq!(users(&mut host, "vfio0", true), BTreeSet::from([gpu(2)]));
    assert_eq!(users(&mut host, "vfio0", true), BTreeSet::new(), "it was there already");
    set_device(&mut host, gpu(2), with(2, "vfio1"));
    set_device(&mut host, gpu(1), with(1, "vfio2"));
    assert_eq!(users(&mut host, "vfio1", true), BTreeSet::from([gpu(2)]), "the loss of it was read later");
}
