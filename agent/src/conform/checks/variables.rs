//! The variables by which virt-launcher finds the devices.

use crate::conform::{
    address::{self, Kind, Variable, kind_of, read_by_launcher, spelled, split},
    book::Book,
    check::{Check, Group, Needs},
    checks::allocate::NOT_AGAIN,
    kubelet::told,
    subject::{Probe, Subject, Terms, addresses},
};
use std::collections::BTreeMap;
use vfiod_proto::deviceplugin::ContainerAllocateResponse;

/// The checks of this file.
pub const GROUP: Group = Group {
    name: "variables",
    about: "the environment variables in which virt-launcher looks for its devices",
    checks: &[&NAME, &PREFIX, &VALUES, &JOINED, &COUNT, &ORDER, &DISTINCT],
};

/// The variable has the name that is read.
pub static NAME: Check = Check {
    name: "variables.name",
    title: "the variable is named <prefix>_<RESOURCE>: upper case throughout, / and . as _, - stays",
    source: "KubeVirt: pkg/util/util.go, ResourceNameToEnvVar; pkg/virt-launcher/virtwrap/device/hostdevice/addresspool.go, NewAddressPool",
    consequence: "virt-launcher does not find the variable: the VM fails to start (\"the number of GPUs/HostDevices do not match the number of devices\").",
    needs: Needs::Socket,
};

/// The prefix says what the values are.
pub static PREFIX: Check = Check {
    name: "variables.prefix",
    title: "PCI addresses are in PCI_RESOURCE_*, mdev UUIDs in MDEV_PCI_RESOURCE_*, USB devices in USB_RESOURCE_*",
    source: "KubeVirt: staging/src/kubevirt.io/api/core/v1/types.go, PCIResourcePrefix, MDevResourcePrefix, USBResourcePrefix",
    consequence: "virt-launcher takes a UUID for a PCI address, or the other way round, and the VM fails to start.",
    needs: Needs::Socket,
};

/// Values are addresses.
pub static VALUES: Check = Check {
    name: "variables.values",
    title: "a value is an address and nothing else: dddd:bb:dd.f, an mdev UUID, or bus:device",
    source: "KubeVirt: pkg/virt-launcher/virtwrap/device/address.go, NewPciAddressField; pkg/hardware/hw_utils.go, ParsePciAddress",
    consequence: "The VM fails to start: virt-launcher cannot parse the address.",
    needs: Needs::Socket,
};

/// Several values are joined by commas.
pub static JOINED: Check = Check {
    name: "variables.joined",
    title: "the addresses of several devices are joined by commas, without blanks",
    source: "KubeVirt: pkg/virt-launcher/virtwrap/device/hostdevice/addresspool.go, NewAddressPool: split at each comma, one trailing comma dropped",
    consequence: "A VM with one device starts, one with two does not.",
    needs: Needs::Socket,
};

/// As many addresses as devices.
pub static COUNT: Check = Check {
    name: "variables.count",
    title: "there are as many addresses as devices were asked for",
    source: "KubeVirt: pkg/virt-launcher/virtwrap/device/hostdevice/addresspool.go, Pop: one address for each entry of gpus and hostDevices",
    consequence: "The VM fails to start: an entry of gpus or hostDevices finds no address left.",
    needs: Needs::Socket,
};

/// In the order of the request.
pub static ORDER: Check = Check {
    name: "variables.order",
    title: "the addresses are in the order of the ids in the request",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, Allocate passes the ids on; KubeVirt: addresspool.go, Pop takes addresses in order",
    consequence: "A VM's first GPU is now one device and now another, and guests find their devices swapped.",
    needs: Needs::Socket,
};

/// Two devices are not one.
pub static DISTINCT: Check = Check {
    name: "variables.distinct",
    title: "different ids give different addresses",
    source: "KubeVirt: pkg/virt-launcher/virtwrap/device/hostdevice/addresspool.go, Pop removes an address that was taken from all resources",
    consequence: "Two pods are given one device: the second VM fails with \"device or resource busy\".",
    needs: Needs::Socket,
};

/// Checks what single devices are given, then, if `again`, what two are given.
pub(in crate::conform) async fn check(subject: &Subject, again: bool, terms: &Terms, book: &mut Book) {
    for probe in &subject.probes {
        names(subject, probe, book);
        if !values(subject, probe, book) {
            return book.all_unchecked(GROUP.checks, "the values are no addresses, or there are none");
        }
        let count = addresses(&probe.response, subject.resource.as_deref()).len();
        if count > 0 {
            book.judge(&COUNT, subject.name(), count == 1, || format!("[{}] has {count} addresses", probe.device));
        }
    }
    distinct(subject, book);
    match subject.probes.as_slice() {
        _ if !again => book.all_unchecked(&[&JOINED, &ORDER], NOT_AGAIN),
        [first, second, ..] => pair(subject, first, second, terms, book).await,
        _ => book.all_unchecked(&[&JOINED, &ORDER], "it takes two healthy devices"),
    }
}

fn names(subject: &Subject, probe: &Probe, book: &mut Book) {
    let Some(resource) = &subject.resource else {
        return book.unchecked(&NAME, "the resource's name is not known; give it with --resource");
    };
    let family = address::variables(&probe.response.envs);
    let named = family.iter().any(|variable| variable.resource == spelled(resource));
    book.judge(&NAME, resource, named, || {
        let set: Vec<&str> = family.iter().map(|variable| variable.name.as_str()).collect();
        let set = if set.is_empty() { "none of the kind".to_owned() } else { set.join(", ") };
        format!("[{}] sets {set}; virt-launcher reads {}{}", probe.device, Kind::Pci.prefix(), spelled(resource))
    });
}

/// False when there is no address to go on with.
fn values(subject: &Subject, probe: &Probe, book: &mut Book) -> bool {
    let family = address::variables(&probe.response.envs);
    let mut good = !family.is_empty();
    for Variable { kind, name, value, .. } in &family {
        for part in split(value) {
            let Some(is) = kind_of(part) else {
                book.fail(&VALUES, subject.name(), format!("{name}={value}: {part:?} is no address"));
                good = false;
                continue;
            };
            book.pass(&VALUES);
            book.judge(&PREFIX, subject.name(), is == *kind, || {
                format!("{name}={value}: these are {}, the prefix says {}", is.values(), kind.values())
            });
        }
    }
    good
}

fn distinct(subject: &Subject, book: &mut Book) {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for probe in &subject.probes {
        for address in probe.addresses(subject.resource.as_deref()) {
            match owners.insert(address.clone(), &probe.device) {
                Some(other) if other != probe.device => {
                    let what = format!("{address} is given for {other} and for {}", probe.device);
                    book.fail(&DISTINCT, subject.name(), what);
                }
                _ if subject.probes.len() > 1 => book.pass(&DISTINCT),
                _ => book.unchecked(&DISTINCT, "it takes two healthy devices"),
            }
        }
    }
}

async fn pair(subject: &Subject, first: &Probe, second: &Probe, terms: &Terms, book: &mut Book) {
    let (a, b) = (first.device.as_str(), second.device.as_str());
    for (one, other) in [(first, second), (second, first)] {
        let (x, y) = (one.device.as_str(), other.device.as_str());
        let response = match subject.plugin.allocate(&[&[x, y]], terms.patience).await {
            Ok(responses) => responses.into_iter().next(),
            Err(status) => {
                let what = format!("Allocate of [{a}, {b}] for one container: {}", told(&status));
                return book.all_unchecked(&[&JOINED, &ORDER], &what);
            }
        };
        let Some(response) = response else { return book.all_unchecked(&[&JOINED, &ORDER], "there is no response") };
        both(subject, &response, one, other, book);
    }
}

/// Checks the response for two devices against what each of them is given alone.
fn both(subject: &Subject, response: &ContainerAllocateResponse, one: &Probe, other: &Probe, book: &mut Book) {
    let resource = subject.resource.as_deref();
    let read = read_by_launcher(&response.envs, resource);
    let (x, y) = (&one.device, &other.device);
    let ill = read.iter().find(|variable| split(&variable.value).iter().any(|part| kind_of(part).is_none()));
    if let Some(Variable { name, value, .. }) = ill {
        return book.fail(&JOINED, subject.name(), format!("[{x}, {y}] gives {name}={value:?}"));
    }
    if read.is_empty() {
        return book.all_unchecked(&[&JOINED, &ORDER], "the variable is not there");
    }
    book.pass(&JOINED);
    let found = addresses(response, resource);
    book.judge(&COUNT, subject.name(), found.len() == 2, || format!("[{x}, {y}] gives {}", found.join(",")));
    if found.len() != 2 || read.len() != 1 {
        return book.unchecked(&ORDER, "two ids do not give two addresses in one variable");
    }
    let mut expected = one.addresses(resource);
    expected.extend(other.addresses(resource));
    book.judge(&ORDER, subject.name(), found == expected, || {
        format!("[{x}, {y}] gives {}, in this order it is {}", found.join(","), expected.join(","))
    });
}
