//! A small node with the seed's devices and a kubelet, for trying a device plugin by hand: one command a line.

use crate::{
    kubelet::{Kubelet, PodSpec},
    node::{Injection, MdevFleet, MdevType, Node, PciFleet, PciSpec, Process, ProcessSpec},
};
use anyhow::{Context, Result, anyhow, bail};
use std::{collections::HashMap, fs, io::Write, path::Path, time::Duration};

/// The commands.
pub const HELP: &str = "\
show                      resources with their devices
admit POD RESOURCE=N ...  admit a pod and start its container
finish POD                end a pod
open GROUP [POD]          a process opens /dev/vfio/GROUP: of a pod, or of none
close GROUP               whoever has /dev/vfio/GROUP open closes it
gone GROUP | back GROUP   take /dev/vfio/GROUP away, or give it back
unbind DEVICE             take a device from its driver
bind DEVICE DRIVER        bind it
unplug DEVICE             remove it
restart                   restart the kubelet
quit                      end";

/// Four T4s with their audio functions on two NUMA nodes, two QATs, four vGPUs.
fn node(host: &Path) -> Result<Node> {
    let parents = PciFleet::new("10DE:1EB8", 1).first_domain(2).driver("nvidia").numa_nodes(1);
    let mut builder = Node::builder().at(host).injection(Injection::InPrivateNetwork);
    for (bus, numa) in [("3b", 0), ("5e", 0), ("af", 1), ("d8", 1)] {
        let gpu = format!("0000:{bus}:00.0");
        builder = builder.pci(PciSpec::new(&gpu, "10DE:1EB8").driver("vfio-pci").numa(numa)).pci(
            PciSpec::new(format!("0000:{bus}:00.1"), "10DE:10F8")
                .driver("vfio-pci")
                .numa(numa)
                .sharing_group_with(&gpu),
        );
    }
    builder
        .pci_fleet(&PciFleet::new("8086:6F54", 2).first_domain(1).driver("vfio-pci"))
        .mdev_fleet(&MdevFleet::new(MdevType::new("nvidia-222", "GRID T4-1Q"), 4, parents))
        .build()
        .map_err(Into::into)
}

/// A node and its kubelet, ruled by one command a line.
pub struct Lab {
    node: Node,
    kubelet: Kubelet,
    /// The UID of each pod, by name.
    pods: HashMap<String, String>,
    /// Processes, each with the group it has open.
    processes: Vec<(String, Process)>,
}

impl Lab {
    /// Makes the node in `folder/host` and the kubelet in `folder/kubelet`.
    ///
    /// # Errors
    /// When there is a node already, or something cannot be made.
    pub async fn open(folder: &Path) -> Result<Self> {
        let host = folder.join("host");
        if host.exists() {
            bail!("{} exists; name a folder that does not, or remove it", host.display());
        }
        fs::create_dir_all(&host).with_context(|| format!("cannot make {}", host.display()))?;
        let node = node(&host)?;
        let kubelet = Kubelet::builder(folder.join("kubelet")).host_root(&host).start().await?;
        Ok(Self { node, kubelet, pods: HashMap::new(), processes: Vec::new() })
    }

    /// The kubelet.
    #[must_use]
    pub const fn kubelet(&self) -> &Kubelet {
        &self.kubelet
    }

    /// Carries out one command and writes what it shows; false where the command is to end.
    ///
    /// # Errors
    /// When the command is not understood or cannot be carried out.
    pub async fn obey(&mut self, line: &str, out: &mut impl Write) -> Result<bool> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            [] => {}
            ["help"] => writeln!(out, "{HELP}")?,
            ["quit" | "exit"] => return Ok(false),
            ["show"] => self.show(out)?,
            ["admit", pod, ref requests @ ..] => self.admit(pod, requests, out).await?,
            ["finish", pod] => {
                let uid = self.pods.remove(pod).ok_or_else(|| anyhow!("there is no pod {pod}"))?;
                self.kubelet.finish_pod(&uid);
            }
            ["open", group] => self.open_group(group, None, out)?,
            ["open", group, pod] => self.open_group(group, Some(pod), out)?,
            ["close", group] => self.processes.retain(|(open, _)| open != group),
            ["gone", group] => self.node.node_gone(group.parse()?)?,
            ["back", group] => self.node.node_back(group.parse()?)?,
            ["unbind", device] => drop(self.node.unbind(device)?),
            ["bind", device, driver] => drop(self.node.bind(device, driver)?),
            ["unplug", device] => drop(self.node.unplug(device)?),
            ["restart"] => self.kubelet.restart().await?,
            _ => bail!("not understood; the commands are\n{HELP}"),
        }
        // What it caused is worth seeing with the next `show`.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(true)
    }

    fn open_group(&mut self, group: &str, pod: Option<&str>, out: &mut impl Write) -> Result<()> {
        let spec = match pod {
            None => ProcessSpec::new("dpdk-testpmd"),
            Some(pod) => {
                let uid = self.pods.get(pod).ok_or_else(|| anyhow!("there is no pod {pod}"))?;
                ProcessSpec::new("qemu-system-x86").in_pod(uid, &"c0ffee01".repeat(8))
            }
        };
        let mut process = self.node.start_process(&spec)?;
        process.open(&format!("/dev/vfio/{group}"))?;
        writeln!(out, "  process {}", process.pid())?;
        self.processes.push((group.to_owned(), process));
        Ok(())
    }

    fn show(&self, out: &mut impl Write) -> Result<()> {
        self.kubelet.look(|state| {
            for resource in state.resources() {
                let (capacity, allocatable) = (state.capacity(&resource), state.allocatable(&resource));
                writeln!(out, "{resource}  capacity {capacity}  allocatable {allocatable}")?;
                let allocated = state.allocated(&resource);
                for (id, device) in state.devices(&resource) {
                    let used = if allocated.contains(&id) { "  in use" } else { "" };
                    writeln!(out, "  {id}  {:?}{used}", device.health)?;
                }
            }
            if state.resources().is_empty() {
                writeln!(out, "no plugin has registered a resource")?;
            }
            Ok(())
        })
    }

    async fn admit(&mut self, pod: &str, requests: &[&str], out: &mut impl Write) -> Result<()> {
        let requests = requests.iter().map(|request| {
            let (resource, count) = request.split_once('=').unwrap_or((request, "1"));
            Ok((resource, count.parse::<usize>().with_context(|| format!("{count:?} is not a number"))?))
        });
        let requests: Vec<(&str, usize)> = requests.collect::<Result<_>>()?;
        let spec = PodSpec::new("vms", pod).container("compute", requests);
        let admitted = self.kubelet.admit(spec).await?;
        self.pods.insert(pod.to_owned(), admitted.uid().to_owned());
        if let Some(container) = admitted.container("compute") {
            for (name, value) in &container.options.envs {
                writeln!(out, "  {name}={value}")?;
            }
            for device in &container.options.devices {
                writeln!(out, "  {} ({})", device.host_path, device.permissions)?;
            }
        }
        self.kubelet.start_container(admitted.uid(), "compute").await?;
        writeln!(out, "  started")?;
        Ok(())
    }
}
