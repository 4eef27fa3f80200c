//! What a vfiod that is started again believes of the host: entries of a real sysfs keep their numbers, and no other gets them.

use crate::vm::{Guest, pci::Pci};
use anyhow::{Context, Result, ensure};
use vfiod::discovery::{Again, HostRoot, Remembered, look_again, scan};

pub fn run(guest: &mut Guest) -> Result<()> {
    guest.check("what has not changed since a look at the host need not be read again", |guest| {
        let found = look()?;
        let Again { scan: again, recalled, .. } = look_again(&HostRoot::default(), || found);
        ensure!(again == scan(&HostRoot::default()), "a look with memory sees something else: {again:?}");
        let (recalled, devices) = (recalled.context("nothing was remembered")?, guest.bench.all().count());
        ensure!(recalled >= devices, "{recalled} devices were recalled, and {devices} are bound to vfio-pci");
        Ok(())
    })?;
    guest.check("a device that was unbound, or bound anew, since a look at the host is read again", |guest| {
        for device in guest.bench.all() {
            let found = look()?;
            let before = recalled(&found)?;
            device.unbind()?;
            let unbound = recalled(&found)?;
            device.bind("vfio-pci")?;
            device.node()?;
            let bound_anew = recalled(&found)?;
            ensure!(
                [unbound, bound_anew] == [before - 1, before - 1],
                "of {before} devices {unbound} were recalled when {device} was unbound, and {bound_anew} when it was bound anew"
            );
        }
        Ok(())
    })?;
    guest.check("a device that was removed and found again since a look at the host is read again", |guest| {
        let [device, _] = &guest.bench.lone;
        let found = look()?;
        let before = recalled(&found)?;
        remove_and_find(device)?;
        let after = recalled(&found)?;
        device.bind("vfio-pci")?;
        ensure!(after == before - 1, "of {before} devices {after} were recalled when {device} had been removed");
        ensure!(recalled(&found)? == after, "a device that is back and bound is another one");
        Ok(())
    })
}

/// What a full look remembers, as it lies in the file.
fn look() -> Result<Remembered> {
    let root = HostRoot::default();
    let bytes = look_again(&root, Remembered::default).found.encode(&root).context("this boot has no id")?;
    Remembered::decode(&bytes, &root).context("what was remembered a moment ago is of another boot or tree")
}

/// How many devices are recalled now; what is seen then is what there is.
fn recalled(found: &Remembered) -> Result<usize> {
    let root = HostRoot::default();
    let again = look_again(&root, || found.clone());
    let full = scan(&root);
    ensure!(again.scan == full, "with memory {:?} is seen, and without {full:?}", again.scan);
    again.recalled.context("nothing was remembered")
}

/// Takes a function from its bus, and has the bus looked through for it (kernel: `Documentation/ABI/testing/sysfs-bus-pci`).
fn remove_and_find(device: &Pci) -> Result<()> {
    let remove = format!("/sys/bus/pci/devices/{}/remove", device.bdf());
    std::fs::write(&remove, "1").with_context(|| remove.clone())?;
    device.wait_until_gone()?;
    std::fs::write("/sys/bus/pci/rescan", "1").context("/sys/bus/pci/rescan")?;
    device.wait_until_there()
}
