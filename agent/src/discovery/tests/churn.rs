//! Devices that come and go while they are read.

use super::tree::{Tree, home, id_of};
use crate::discovery::{Reading, read_device};
use std::{
    fs,
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use vfiod_core::device::Binding;

const SOUND: &str = "0000:3b:00.0";
const FLAPPING: &str = "0000:af:00.0";

/// Ends the churn even where an assertion fails: the scope would wait for it for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Adds and removes the flapping device, in the kernel's order: its link is the last to come and the first to go.
fn churn(tree: &Tree, stop: &AtomicBool) -> usize {
    let link = tree.at(&format!("sys/bus/pci/devices/{FLAPPING}"));
    let member = tree.at(&format!("sys/kernel/iommu_groups/9/devices/{FLAPPING}"));
    let own = tree.at(&home(FLAPPING));
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("uevent"), "PCI_ID=10DE:1EB8\n").unwrap();
        symlink("../../../kernel/iommu_groups/9", own.join("iommu_group")).unwrap();
        symlink("../../../bus/pci/drivers/vfio-pci", own.join("driver")).unwrap();
        fs::create_dir_all(member.parent().unwrap()).unwrap();
        symlink(&own, &member).unwrap();
        symlink(&own, &link).unwrap();
        thread::sleep(Duration::from_micros(100)); // so that it is also seen whole

        fs::remove_file(&link).unwrap();
        fs::remove_file(&member).unwrap();
        fs::remove_dir_all(tree.at("sys/kernel/iommu_groups/9")).unwrap();
        for attribute in ["uevent", "iommu_group", "driver"] {
            fs::remove_file(own.join(attribute)).unwrap();
        }
        fs::remove_dir(&own).unwrap();
        rounds += 1;
    }
    rounds
}

#[test]
fn a_device_that_vanishes_while_it_is_read_is_no_fault_and_harms_no_other() {
    let (tree, stop) = (Tree::new().t4(SOUND, "1"), AtomicBool::new(false));
    thread::scope(|scope| {
        let rounds = scope.spawn(|| churn(&tree, &stop));
        let guard = Stop(&stop);
        let mut seen = [false, false];
        let begun = Instant::now();
        for round in 0.. {
            if round >= 2000 && seen == [true, true] || begun.elapsed() > Duration::from_secs(60) {
                break;
            }
            let scan = tree.scan();
            assert_eq!(scan.faults, []);
            assert_eq!(scan.device(id_of(SOUND)).unwrap().binding, Binding::Vfio("vfio-pci".into()));
            match read_device(&tree.root, id_of(FLAPPING)) {
                Reading::Present(device) => {
                    // All of it or nothing: a half-removed device would look unbound.
                    assert_eq!((device.binding, device.group), (Binding::Vfio("vfio-pci".into()), Some(9)));
                    seen[0] = true;
                }
                Reading::Gone => seen[1] = true,
                Reading::Fault(fault) => panic!("{fault}"),
            }
        }
        drop(guard);
        assert!(rounds.join().unwrap() > 1);
        assert_eq!(seen, [true, true], "the test must have seen both states");
    });
}
