//! An admission, played through on the host as it is now.

use crate::plugin::environment;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use vfiod_core::{
    allocator::{self, Register, Wish},
    device::DeviceId,
    health::{Health, Verdict},
    hostdev::{Assignment, Environment, Machine, Request, Requests, assign},
    inventory::Inventory,
    ownership::Moment,
    permit::{Finding, Notice, Parsed, Problem, Resource},
    variables::EnvNames,
};

/// Long after everything that was found on the host: no window of grace is open any more.
const NOW: Moment = Duration::from_secs(3600);

/// What came of it.
pub(super) struct Trial {
    pub(super) machine: Machine,
    pub(super) resources: Vec<Supply>,
    pub(super) assignment: Assignment,
    pub(super) problems: Vec<Problem>,
    pub(super) notices: Vec<Notice>,
}

/// One resource that the machine asks for, and what this host has of it.
pub(super) struct Supply {
    pub(super) name: String,
    pub(super) wanted: u64,
    pub(super) devices: Vec<Candidate>,
}

/// One device that the resource selects.
pub(super) struct Candidate {
    pub(super) id: DeviceId,
    pub(super) numa: Option<u32>,
    pub(super) free: bool,
    pub(super) chosen: bool,
    pub(super) verdict: Verdict,
}

impl Supply {
    pub(super) fn free(&self) -> usize {
        self.devices.iter().filter(|device| device.free).count()
    }
}

impl Trial {
    /// Whether the machine would start.
    pub(super) fn starts(&self) -> bool {
        self.machine.sound && self.problems.is_empty()
    }
}

/// Admits the machine. `parsed` serves every resource, `serving` those that vfiod is told to serve.
pub(super) fn admit(
    machine: Machine,
    asked: Requests,
    mut inventory: Inventory,
    parsed: &Parsed,
    serving: &Parsed,
) -> Trial {
    let opened = inventory.settle(NOW).opened;
    let served: BTreeMap<&str, &Arc<allocator::Resource>> =
        opened.iter().map(|resource| (resource.name().as_str(), resource)).collect();
    let Requests { requests, problems, notices } = asked;
    let mut desk = Desk { machine: &machine, inventory, register: Register::default(), problems, notices };
    let mut variables = Vec::new();
    let mut resources = Vec::new();
    let mut complete = true;
    for request in &requests {
        let name = request.resource.as_str();
        let (Some(permitted), Some(resource)) = (parsed.permit.get(name), served.get(name)) else {
            complete = false; // what is not permitted is told of the entry
            desk.note_usb(request, parsed);
            continue;
        };
        desk.note_provider(request, serving);
        let mut supply = desk.supply(permitted, resource, request);
        match desk.grant(resource, request, &mut supply) {
            Some(granted) => variables.extend(granted),
            None => complete = false,
        }
        resources.push(supply);
    }
    let Desk { mut problems, mut notices, .. } = desk;
    let environment: Environment = variables.into_iter().collect();
    let assignment = assign(&machine, &environment, EnvNames::KubeVirt, None);
    // Without its devices a container has no variables, and that is told already.
    if complete {
        problems.extend(assignment.problems.iter().cloned());
    }
    notices.extend(assignment.notices.iter().cloned());
    notices.sort_by_key(|notice| notice.at);
    Trial { machine, resources, assignment, problems, notices }
}

/// Where the kubelet and vfiod meet.
struct Desk<'a> {
    machine: &'a Machine,
    inventory: Inventory,
    register: Register,
    problems: Vec<Problem>,
    notices: Vec<Notice>,
}

impl Desk<'_> {
    /// The devices that a resource selects, and those that are gone but owned.
    fn supply(&self, permitted: &Resource, resource: &allocator::Resource, request: &Request) -> Supply {
        let (host, ledger) = (self.inventory.host(), self.inventory.ledger());
        let name = permitted.name.as_str();
        let selects = |id: &DeviceId| {
            let of = host.device(*id).and_then(|device| self.inventory.permit().resource_of(device));
            of.is_some_and(|of| of.name == permitted.name)
        };
        let mut ids: Vec<DeviceId> = host.devices().map(|device| device.id).filter(selects).collect();
        ids.extend(ledger.claimed_under(name).filter(|id| host.device(*id).is_none()));
        ids.sort_unstable();
        ids.dedup();
        let table = resource.table();
        let devices = ids.into_iter().map(|id| {
            let verdict = self.inventory.examine(Some(name), id, NOW);
            let listed = table.get(id).is_some_and(|slot| slot.is_healthy());
            Candidate {
                id,
                numa: host.device(id).and_then(|device| device.numa),
                free: listed && verdict.health == Health::Healthy && ledger.claim(name, id).is_none(),
                chosen: false,
                verdict,
            }
        });
        Supply { name: name.to_owned(), wanted: request.units, devices: devices.collect() }
    }

    /// Chooses as the kubelet does with vfiod's advice, and grants as `Allocate` does; the container's variables.
    fn grant(
        &mut self,
        resource: &allocator::Resource,
        request: &Request,
        supply: &mut Supply,
    ) -> Option<Vec<(String, String)>> {
        let available: Vec<String> =
            supply.devices.iter().filter(|device| device.free).map(|device| device.id.to_string()).collect();
        let size = usize::try_from(request.units).unwrap_or(usize::MAX);
        if size > available.len() {
            self.short(request, supply);
            return None;
        }
        let chosen = match resource.prefer(Wish { available: &available, required: &[], size }, NOW) {
            Ok(chosen) => chosen,
            Err(error) => return self.refuse(request, &error.to_string()),
        };
        let granted = match self.register.grant(resource, &[chosen], NOW) {
            Ok(granted) => granted,
            Err(refusal) => return self.refuse(request, &refusal.to_string()),
        };
        while let Some(answered) = self.register.take() {
            self.inventory.answered(&answered);
        }
        self.inventory.settle(NOW);
        for slot in granted.iter().flat_map(|grant| &grant.slots) {
            let candidate = supply.devices.iter_mut().find(|device| device.id == slot.id());
            if let Some(candidate) = candidate {
                candidate.chosen = true;
            }
        }
        Some(granted.iter().flat_map(|grant| environment(resource, grant)).collect())
    }

    fn refuse<T>(&mut self, request: &Request, why: &str) -> Option<T> {
        let problem = self.finding(request, format!("{} cannot be had: {why}", request.resource), "");
        self.problems.extend(problem);
        None
    }

    /// Fewer devices are free than the machine wants; which ones are not, and why, the list of devices tells.
    fn short(&mut self, request: &Request, supply: &Supply) {
        let (free, all, name) = (supply.free(), supply.devices.len(), &request.resource);
        let wanted = match request.entries.as_slice() {
            [_] => "wants 1".to_owned(),
            _ => format!("is one of {} entries that want one each", request.entries.len()),
        };
        let (what, remedy) = if all == 0 {
            (
                format!("{wanted}, and this host has no device of {name}"),
                "compare its selectors with `lspci -nn` and with /sys/bus/mdev/devices/*/mdev_type/name".to_owned(),
            )
        } else {
            let remedy = supply
                .devices
                .iter()
                .filter(|device| !device.free)
                .find_map(|device| Some(format!("of {}: {}", device.id, device.verdict.reason.remedy()?)));
            let remedy = remedy.unwrap_or_else(|| "wait for a device, or start the machine on another node".to_owned());
            (format!("{wanted}, and of {all} devices of {name} on this host {free} are free"), remedy)
        };
        let problem = self.finding(request, what, remedy);
        self.problems.extend(problem);
    }

    fn note_usb(&mut self, request: &Request, parsed: &Parsed) {
        if parsed.usb.contains(&request.resource) {
            let what = format!("{} is of USB devices, which KubeVirt serves itself", request.resource);
            let problem = self.finding(request, what, "look at it where virt-handler runs: vfiod cannot tell");
            self.problems.extend(problem);
        }
    }

    fn note_provider(&mut self, request: &Request, serving: &Parsed) {
        let Some(resource) = serving.permit.get(request.resource.as_str()).filter(|resource| !resource.is_served())
        else {
            return;
        };
        let what = format!("{} is {}", resource.name, resource.serving);
        let notice = self.finding(request, what, "the devices are told as vfiod would choose them");
        self.notices.extend(notice);
    }

    /// A finding about the first entry of a request.
    fn finding(&self, request: &Request, what: String, remedy: impl Into<String>) -> Option<Finding> {
        let entry = self.machine.entries.get(*request.entries.first()?)?;
        let (field, remedy) = (entry.path.clone(), remedy.into());
        Some(Finding { at: entry.at, field, value: None, what, remedy })
    }
}
