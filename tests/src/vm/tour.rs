//! The main job on a real kernel, shown as it happens: `cargo xtask demo --vm`.

use super::mdev::Mdev;
use super::node::{EDU, EVENTUALLY, MTTY, Node};
use super::pod::Pod;
use super::{Guest, modules};
use anyhow::{Context, Result};
use std::time::Instant;
use vfiod_simulator::kubelet::Health::{self, Healthy, Unhealthy};

const UUID: &str = "6c3ddb4c-1b4e-4e0c-9f6e-2f3c1c1f0a03";

/// Tells the story, from the devices of the host to a mediated device.
pub fn take(guest: &mut Guest) -> Result<()> {
    for device in guest.bench.all() {
        device.bind("vfio-pci")?;
    }
    let mut tour = Tour { guest, node: Node::start("auto")?, scene: 0 };
    tour.host()?;
    tour.pod()?;
    tour.driver()?;
    tour.sibling()?;
    tour.slot()?;
    match modules::need_mtty() {
        Ok(()) => tour.mdev(),
        Err(reason) => tour.say(&format!("No mediated device is shown: {reason:#}")),
    }
}

struct Tour<'a> {
    guest: &'a mut Guest,
    node: Node,
    scene: usize,
}

impl Tour<'_> {
    fn host(&mut self) -> Result<()> {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel has no name")?;
        self.scene(&format!("Linux {}, an IOMMU, and PCI devices bound to vfio-pci", release.trim()))?;
        let (count, begun) = (self.guest.bench.all().count(), Instant::now());
        self.node.wait_for_healthy(EDU, count, EVENTUALLY)?;
        let took = begun.elapsed().as_millis();
        self.say(&format!("vfiod has registered {EDU}; the kubelet counts {count} devices after {took} ms."))?;
        self.quote("$ vfiod devices")?;
        let table = self.node.devices("table")?;
        self.quote(&table)
    }

    fn pod(&mut self) -> Result<()> {
        self.scene("A pod asks for one device, and opens what it is given")?;
        let pod = self.node.run_pod("virt-launcher", EDU, 1)?;
        self.opened(&pod)
    }

    fn driver(&mut self) -> Result<()> {
        self.scene("A device is taken from its driver, and given back")?;
        let [_, device] = self.guest.bench.lone.clone();
        device.unbind()?;
        self.becomes(EDU, device.bdf(), Some(Unhealthy))?;
        device.bind("vfio-pci")?;
        self.becomes(EDU, device.bdf(), Some(Healthy))
    }

    fn sibling(&mut self) -> Result<()> {
        self.scene("A function goes to a driver of the host: its IOMMU group is not viable")?;
        let [device, sibling] = self.guest.bench.pair.clone();
        sibling.bind("uio_pci_generic")?;
        self.becomes(EDU, device.bdf(), Some(Unhealthy))?;
        let why = self.node.explained(device.bdf())?.message;
        self.quote(&why)?;
        sibling.bind("vfio-pci")?;
        self.becomes(EDU, device.bdf(), Some(Healthy))
    }

    fn slot(&mut self) -> Result<()> {
        self.scene("A device is unplugged, and plugged in again")?;
        let device = self.guest.bench.in_port.clone();
        self.guest.port.unplug("early")?;
        device.wait_until_gone()?;
        self.becomes(EDU, device.bdf(), None)?;
        self.guest.port.plug("early", "port-full")?;
        device.wait_until_there()?;
        device.bind("vfio-pci")?;
        self.becomes(EDU, device.bdf(), Some(Healthy))
    }

    fn mdev(&mut self) -> Result<()> {
        self.scene("A mediated device is created, given to a pod and opened")?;
        Mdev::create(UUID)?;
        self.becomes(MTTY, UUID, Some(Healthy))?;
        let pod = self.node.run_pod("virt-launcher-mdev", MTTY, 1)?;
        self.opened(&pod)
    }

    /// Shows what a pod is given, and opens it by these paths.
    fn opened(&mut self, pod: &Pod) -> Result<()> {
        self.say("What its container gets:")?;
        self.quote(&pod.environment()?.join("\n"))?;
        let opened = pod.open()?;
        opened.expect(&[])?;
        self.say("What the kernel answers a program that opens just these paths:")?;
        self.quote(&opened.said)
    }

    /// Waits for the health of a device and tells how long the kubelet took to know it.
    fn becomes(&mut self, resource: &str, id: &str, health: Option<Health>) -> Result<()> {
        let begun = Instant::now();
        self.node.wait_for_health(resource, id, health, EVENTUALLY)?;
        let took = begun.elapsed().as_millis();
        let now = health.map_or("no longer listed".to_owned(), |health| format!("{health:?}"));
        self.say(&format!("{id} is {now}; the kubelet knew after {took} ms."))
    }

    fn scene(&mut self, heading: &str) -> Result<()> {
        self.scene += 1;
        self.guest.port.show(&format!("\n{}  {heading}\n", self.scene))
    }

    fn say(&mut self, text: &str) -> Result<()> {
        self.guest.port.show(&format!("   {text}"))
    }

    fn quote(&mut self, text: &str) -> Result<()> {
        text.trim_end().lines().try_for_each(|line| self.guest.port.show(&format!("     {line}")))
    }
}
