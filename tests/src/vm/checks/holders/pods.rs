//! Holders in pods: whose a process is, its cgroup says.

use super::{ALL_FILES, Holding};
use crate::vm::actor::{Actor, Place};
use crate::vm::cgroup::{CONTAINER, Cgroup, Driver};
use crate::vm::node::{EDU, EVENTUALLY, Node};
use crate::vm::opener;
use crate::vm::pci::Pci;
use crate::vm::pod::{self, Pod};
use anyhow::{Context, Result, ensure};
use vfiod_simulator::kubelet::Health;

pub fn run(holding: &mut Holding<'_>) -> Result<()> {
    for (driver, name) in [(Driver::Systemd, "systemd's"), (Driver::Cgroupfs, "cgroupfs's")] {
        let sentence = format!("a pod's own process, by {name} cgroup, holds its device and leaves it healthy");
        holding.check(&sentence, |_, node| {
            let pod = node.run_pod("own", EDU, 1)?;
            let device = only(&pod)?;
            let cgroup = Cgroup::of_pod(pod.uid(), driver)?;
            let before = node.kubelet.watch(EDU).len();
            let mut process = Actor::start(Place::Here)?;
            cgroup.take_in(process.pid())?;
            process.open(&pod::node_of(&device)?, &[&device])?;
            let holders = node.wait_for_holders(&device, &[process.pid()])?;
            for holder in holders {
                ensure!(holder.relation == "own", "it is {holder:?}");
                ensure!(holder.pod_uid.as_deref() == Some(pod.uid()), "its pod is not {}: {holder:?}", pod.uid());
                ensure!(holder.container_id.as_deref() == Some(CONTAINER), "its container is not that: {holder:?}");
            }
            process.close(&ALL_FILES)?;
            node.wait_for_holders(&device, &[])?;
            let listings = node.kubelet.watch(EDU);
            ensure!(listings.len() == before, "the kubelet was told of it: {:?}", listings.get(before..));
            drop(process);
            drop(cgroup);
            end(node, pod)
        })?;
    }
    holding.check("a stranger's opening a device that a pod owns is told, and leaves it healthy", |_, node| {
        let pod = node.run_pod("robbed", EDU, 1)?;
        let device = only(&pod)?;
        let mut stranger = Actor::holding(Place::Here, &pod::node_of(&device)?, &[&device])?;
        let holders = node.wait_for_holders(&device, &[stranger.pid()])?;
        ensure!(holders.iter().all(|holder| holder.relation == "foreign"), "not foreign: {holders:?}");
        let faults = node.faults(&device)?;
        ensure!(!faults.is_empty(), "`vfiod explain {device}` finds no fault");
        let health = node.kubelet.look(|state| state.health(EDU, &device));
        ensure!(health == Some(Health::Healthy), "the kubelet has {device} as {health:?}");
        stranger.close(&ALL_FILES)?;
        end(node, pod)
    })?;
    holding.check(
        "a container starts when the process of the pod before it lets go of the devices",
        |guest, node| {
            let devices: Vec<Pci> = guest.bench.all().cloned().collect();
            node.wait_for_healthy(EDU, devices.len(), EVENTUALLY)?;
            let first = node.run_pod("first", EDU, devices.len())?;
            let device = devices.first().context("no device")?;
            let cgroup = Cgroup::of_pod(first.uid(), Driver::Systemd)?;
            let mut process = Actor::start(Place::Here)?;
            cgroup.take_in(process.pid())?;
            process.open(&device.node()?, &[device.bdf()])?;
            node.wait_for_holders(device.bdf(), &[process.pid()])?;
            drop(first);
            let second = node.admit_pod("second", EDU, devices.len())?;
            node.start_container_until(&second, "a container waits", || process.close(&ALL_FILES))?;
            // What it waited for is true: the devices open.
            second.open()?.expect(&[])?;
            drop(process);
            end(node, second)
        },
    )?;
    holding.check("a container is refused, with the holder's name, while a stranger keeps its device", |guest, node| {
        let devices: Vec<Pci> = guest.bench.all().cloned().collect();
        node.wait_for_healthy(EDU, devices.len(), EVENTUALLY)?;
        let pod = node.admit_pod("patient", EDU, devices.len())?;
        let device = devices.first().context("no device")?;
        let mut stranger = Actor::holding(Place::Here, &device.node()?, &[device.bdf()])?;
        node.wait_for_holders(device.bdf(), &[stranger.pid()])?;
        let refused = node.start_container_until(&pod, "a container waits", || Ok(()));
        let refused = refused.err().context("it started beside a stranger")?;
        let named = format!("process {}", stranger.pid());
        ensure!(format!("{refused:#}").contains(&named), "the refusal does not name {named}: {refused:#}");
        stranger.close(&ALL_FILES)?;
        node.start_container(&pod)?;
        let groups = [opener::group(&device.node()?, &[device.bdf()])];
        opener::open(&groups)?.expect(&[format!("config {device} 1234:11e8")])?;
        end(node, pod)
    })
}

/// The one device that `pod` was given.
fn only(pod: &Pod) -> Result<String> {
    match pod.ids().as_slice() {
        [id] => Ok(id.clone()),
        ids => anyhow::bail!("it was given {ids:?}"),
    }
}

/// Ends `pod` and waits until its devices are free, as far as vfiod knows.
fn end(node: &mut Node, pod: Pod) -> Result<()> {
    drop(pod);
    node.free_ended_pods()
}
