//! What the host has, whatever of it was read when.

use super::*;

fn host_with(ids: &[DeviceId]) -> (World, Host) {
    let mut world = World::new();
    ids.iter().for_each(|&id| world.plug(id));
    let mut host = Host::default();
    for device in world.devices.values() {
        host.set_device(device.id, Some(device.clone()));
    }
    (world, host)
}

#[test]
fn devices_are_members_of_the_group_that_their_links_name_also_before_it_is_read() {
    let (_, host) = host_with(&[gpu(1), audio(1), gpu(2)]);
    assert_eq!(host.members_of(1), [gpu(1), audio(1)]);
    assert_eq!(host.group(2).unwrap().members.len(), 1);
}

#[test]
fn a_device_that_leaves_takes_its_membership_along_and_the_last_one_the_group() {
    let (world, mut host) = host_with(&[gpu(1), audio(1)]);
    assert_eq!(host.set_device(audio(1), None), BTreeSet::from([gpu(1), audio(1)]));
    assert_eq!(host.members_of(1), [gpu(1)]);
    let moved = Device { group: Some(7), ..world.devices[&gpu(1)].clone() };
    host.set_device(gpu(1), Some(moved));
    assert_eq!((host.group(1), host.members_of(7)), (None, &[gpu(1)][..]));
}

#[test]
fn a_member_that_changes_its_driver_changes_the_group() {
    let (world, mut host) = host_with(&[gpu(1), audio(1)]);
    assert_eq!(host.group(1).unwrap().obstacle(), None);
    let on_host = Device { binding: super::host("snd_hda_intel"), ..world.devices[&audio(1)].clone() };
    assert!(host.set_device(audio(1), Some(on_host)).contains(&gpu(1)));
    assert_eq!(host.group(1).unwrap().obstacle().unwrap().driver, "snd_hda_intel");
    assert_eq!(host.group(1).unwrap().members.len(), 2);
}

#[test]
fn what_was_read_of_a_group_is_kept_while_its_devices_change() {
    let (world, mut host) = host_with(&[gpu(1)]);
    host.set_group(1, Some(Group { noiommu: true, ..world.members(1).unwrap() }));
    host.set_device(gpu(1), Some(Device { binding: Binding::Unbound, ..world.devices[&gpu(1)].clone() }));
    assert!(host.group(1).unwrap().noiommu);
    host.set_group(1, None);
    assert_eq!(host.members_of(1), [gpu(1)], "its link still names it");
}

#[test]
fn a_character_device_belongs_to_the_device_that_has_it_now() {
    let (world, mut host) = host_with(&[gpu(1), gpu(2)]);
    let with = |bus: u8, name: &str| Some(Device { cdevs: vec![name.into()], ..world.devices[&gpu(bus)].clone() });
    let users = |host: &mut Host, name: &str, exists| host.set_node(&DevNode::Cdev(name.into()), exists);
    host.set_device(gpu(1), with(1, "vfio0"));
    assert_eq!(users(&mut host, "vfio0", true), BTreeSet::from([gpu(1)]));
    host.set_device(gpu(1), with(1, "vfio1"));
    assert_eq!(users(&mut host, "vfio0", false), BTreeSet::new());
    host.set_device(gpu(2), with(2, "vfio0"));
    assert_eq!(users(&mut host, "vfio0", true), BTreeSet::from([gpu(2)]));
    assert_eq!(users(&mut host, "vfio0", true), BTreeSet::new(), "it was there already");
    host.set_device(gpu(2), with(2, "vfio1"));
    host.set_device(gpu(1), with(1, "vfio2"));
    assert_eq!(users(&mut host, "vfio1", true), BTreeSet::from([gpu(2)]), "the loss of it was read later");
}
