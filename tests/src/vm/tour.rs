//! The main job on a real kernel, shown as it happens: `cargo xtask demo --vm`.

use super::mdev::Mdev;
use super::node::{EDU, EVENTUALLY, MTTY, Node, Setup};
use super::opener::{self, group};
use super::pod::Pod;
use super::{Guest, modules};
use crate::demo::page::Page;
use anyhow::{Context, Result, ensure};
use std::time::Instant;
use vfiod_simulator::kubelet::Health::{self, Healthy, Unhealthy};

/// How `vfio-open` ends where the kernel does not let a group be used.
const NOT_VIABLE: i32 = 3;
const UUID: &str = "6c3ddb4c-1b4e-4e0c-9f6e-2f3c1c1f0a03";

/// Tells the story, from the devices of the host to a mediated device.
pub fn take(guest: &mut Guest, colour: bool) -> Result<()> {
    let page = Page::over(Box::new(guest.port.shown()?), colour);
    for device in guest.bench.all() {
        device.bind("vfio-pci")?;
    }
    let mut tour = Tour { guest, node: Node::start(Setup { name: "tour", ..Setup::DEFAULT })?, page };
    tour.introduce()?;
    tour.host()?;
    tour.pod()?;
    tour.driver()?;
    tour.sibling()?;
    tour.slot()?;
    tour.mdev()?;
    tour.page.blank()
}

struct Tour<'a> {
    guest: &'a mut Guest,
    node: Node,
    page: Page,
}

impl Tour<'_> {
    fn introduce(&mut self) -> Result<()> {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel has no name")?;
        self.page.blank()?;
        self.page.title(&format!("vfiod on a real kernel: Linux {}", release.trim()))?;
        self.page.blank()?;
        self.page.say(
            "A machine made by QEMU, with an IOMMU and PCI devices that are bound to the kernel's vfio-pci; vfiod on its \
             real /sys and /dev. Only the kubelet is simulated. The times are of this run: an emulated machine is slow.",
        )
    }

    fn host(&mut self) -> Result<()> {
        self.page.scene("vfiod serves the devices of the host")?;
        let (count, begun) = (self.guest.bench.all().count(), Instant::now());
        self.node.wait_for_healthy(EDU, count, EVENTUALLY)?;
        let took = begun.elapsed().as_millis();
        self.page.say(&format!("After {took} ms the kubelet counts {count} devices of {EDU}:"))?;
        self.page.blank()?;
        // The last columns say "ready", and do not fit on 80.
        let table = self.node.devices("table")?;
        let width = table.find("OWNER").unwrap_or(table.len());
        self.page.command(&format!("vfiod devices | cut -c -{width}"))?;
        let cut = table.lines().map(|line| line.get(..width).unwrap_or(line).trim_end());
        self.page.quote(&cut.collect::<Vec<_>>().join("\n"))
    }

    fn pod(&mut self) -> Result<()> {
        self.page.scene("A pod asks for one device, and opens what it is given")?;
        let pod = self.node.run_pod("virt-launcher", EDU, 1)?;
        self.opened(&pod)
    }

    fn driver(&mut self) -> Result<()> {
        self.page.scene("A device is taken from its driver, and given back")?;
        let [_, device] = self.guest.bench.lone.clone();
        self.page.say(&format!("{device} is unbound from vfio-pci, then bound again."))?;
        device.unbind()?;
        self.becomes(EDU, device.bdf(), Some(Unhealthy))?;
        device.bind("vfio-pci")?;
        self.becomes(EDU, device.bdf(), Some(Healthy))
    }

    fn sibling(&mut self) -> Result<()> {
        self.page.scene("One function of a card goes to a driver of the host")?;
        let [device, sibling] = self.guest.bench.pair.clone();
        self.page.say(&format!(
            "{device} and {sibling} share an IOMMU group, and the kernel gives a group away only as a whole. {sibling} is \
             bound to uio_pci_generic, then to vfio-pci again."
        ))?;
        sibling.bind("uio_pci_generic")?;
        self.becomes(EDU, device.bdf(), Some(Unhealthy))?;
        let why = self.node.explained(device.bdf())?.message;
        self.page.blank()?;
        self.page.quote(&format!("vfiod devices:   {why}"))?;
        let refused = opener::open(&[group(&device.node()?, &[device.bdf()])])?;
        ensure!(refused.code == Some(NOT_VIABLE), "the kernel opens a group that is not viable: {refused:?}");
        self.page.quote(&format!("the kernel says: {}", refused.said.lines().last().unwrap_or_default()))?;
        self.page.blank()?;
        sibling.bind("vfio-pci")?;
        self.becomes(EDU, device.bdf(), Some(Healthy))
    }

    fn slot(&mut self) -> Result<()> {
        self.page.scene("A device is unplugged, and plugged in again")?;
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
        self.page.scene("A mediated device is created, given to a pod and opened")?;
        if let Err(reason) = modules::need_mtty() {
            return self.page.say(&format!("Left out: {reason:#}"));
        }
        Mdev::create(UUID)?;
        self.becomes(MTTY, UUID, Some(Healthy))?;
        self.page.blank()?;
        let pod = self.node.run_pod("virt-launcher-mdev", MTTY, 1)?;
        self.opened(&pod)
    }

    /// Shows what a pod is given, and opens it by these paths.
    fn opened(&mut self, pod: &Pod) -> Result<()> {
        self.page.say("Its container gets:")?;
        self.page.blank()?;
        self.page.quote(&pod.environment()?.join("\n"))?;
        self.page.blank()?;
        let opened = pod.open()?;
        opened.expect(&[])?;
        self.page.say(
            "A program opens exactly these paths through the VFIO ioctls, as a virtual machine monitor does: container, \
             group, device, regions, a mapping for DMA. The kernel answers:",
        )?;
        self.page.blank()?;
        self.page.quote(&opened.said)
    }

    /// Waits for the health of a device and tells how long the kubelet took to know it.
    fn becomes(&mut self, resource: &str, id: &str, health: Option<Health>) -> Result<()> {
        let begun = Instant::now();
        self.node.wait_for_health(resource, id, health, EVENTUALLY)?;
        let took = begun.elapsed().as_millis();
        let now = health.map_or("no longer listed".to_owned(), |health| format!("{health:?}"));
        self.page.say(&format!("{id} is {now}: the kubelet knew {took} ms after the kernel was done."))
    }
}
