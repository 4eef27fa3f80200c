//! What virt-launcher makes of the container's environment.

use super::{
    device::{HostDevice, Source, alias},
    display,
    environment::Environment,
    explain,
    machine::{List, Machine},
    pool::{Naming, Pool},
};
use crate::{
    permit::{Notice, Permit, Problem, ResourceName},
    variables::{Carried, EnvNames},
};
use std::collections::BTreeSet;

/// The host devices of a domain, and what is wrong with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The devices in the order of the domain: those of `hostDevices`, then those of `gpus`; in each the PCI functions,
    /// then the mdevs, then the USB devices.
    pub devices: Vec<HostDevice>,
    /// Why the machine does not start. As long as there is one, virt-launcher or libvirt refuses them all.
    pub problems: Vec<Problem>,
    /// What is accepted and yet worth saying.
    pub notices: Vec<Notice>,
}

/// An address that is none.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) entry: usize,
    pub(super) variable: String,
    pub(super) address: String,
    pub(super) what: String,
    pub(super) remedy: &'static str,
}

/// One list after its pools were asked.
#[derive(Debug)]
pub(super) struct Served<'a> {
    pub(super) list: List,
    pub(super) pools: Vec<(Carried, Pool<'a>)>,
    pub(super) bad: Vec<Bad>,
}

/// The kinds of device that a list may hold, in the order in which virt-launcher creates them.
pub(super) const fn kinds(list: List) -> &'static [Carried] {
    match list {
        List::Gpus => &[Carried::Pci, Carried::Mdev],
        List::HostDevices => &[Carried::Pci, Carried::Mdev, Carried::Usb],
    }
}

/// Gives each entry of the machine its device. What is wrong with the document alone, [`requests`](super::requests) says.
///
/// `spelling` is how the variables are spelt: virt-launcher reads [`EnvNames::KubeVirt`]. With [`EnvNames::Both`] the
/// spelling of KubeVirt's user guide and the aliases of `permit` are read too, where the other is not set.
#[must_use]
pub fn assign(machine: &Machine, environment: &Environment, spelling: EnvNames, permit: Option<&Permit>) -> Assignment {
    let naming = Naming { spelling, permit };
    let mut assignment = Assignment::default();
    let mut served = Vec::new();
    for list in [List::HostDevices, List::Gpus] {
        served.push(serve(machine, list, environment, naming, &mut assignment.devices));
    }
    display::decide(machine, &mut assignment.devices);
    explain::explain(machine, environment, naming, &served, &mut assignment);
    display::check_graphics(machine, &mut assignment);
    assignment.problems.sort_by_key(|problem| problem.at);
    assignment.notices.sort_by_key(|notice| notice.at);
    assignment
}

/// One list: every entry asks the pool of each kind, one kind after the other (KubeVirt: `CreateHostDevicesFromPools`,
/// `createHostDevices`). Each list has pools of its own.
fn serve<'a>(
    machine: &'a Machine,
    list: List,
    environment: &Environment,
    naming: Naming<'_>,
    devices: &mut Vec<HostDevice>,
) -> Served<'a> {
    let mut served = Served { list, pools: Vec::new(), bad: Vec::new() };
    let resources: BTreeSet<&ResourceName> = machine.plugged(list).map(|(_, _, resource)| resource).collect();
    for &kind in kinds(list) {
        let mut pool = Pool::load(resources.iter().copied(), kind, environment, naming);
        for (index, entry, resource) in machine.plugged(list) {
            let Some((address, variable)) = pool.pop(resource) else { continue };
            match Source::parse(kind, &address) {
                Ok(source) => devices.push(HostDevice {
                    entry: index,
                    alias: alias(entry, kind),
                    source,
                    variable,
                    display: false,
                    ramfb: false,
                }),
                Err((what, remedy)) => served.bad.push(Bad { entry: index, variable, address, what, remedy }),
            }
        }
        served.pools.push((kind, pool));
    }
    served
}
