//! `simulate DIR`: a node with the seed's devices in `DIR/host`, a kubelet in `DIR/kubelet`, and a prompt.
//!
//! For trying any device plugin by hand: start the plugin on the two folders, then admit pods, take nodes away, restart
//! the kubelet. Reads one command a line from stdin; `help` lists them.

use anyhow::{Context, Result, anyhow, bail};
use std::{
    collections::HashMap,
    env, fs,
    io::{BufRead, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use vfiod_simulator::{
    kubelet::{Kubelet, PodSpec},
    node::{Injection, MdevFleet, MdevType, Node, PciFleet, PciSpec},
};

const HELP: &str = "\
show                      resources with their devices
admit POD RESOURCE=N ...  admit a pod and start its container
finish POD                end a pod
gone GROUP | back GROUP   take /dev/vfio/GROUP away, or give it back
unbind DEVICE             take a device from its driver
bind DEVICE DRIVER        bind it
unplug DEVICE             remove it
restart                   restart the kubelet
quit                      end";

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1);
    let (Some(folder), None) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        eprintln!(
            "usage: simulate DIR\n\nDIR is made, with a node in DIR/host and a kubelet in DIR/kubelet. At the prompt:\n{HELP}"
        );
        std::process::exit(2);
    };
    let host = folder.join("host");
    if host.exists() {
        bail!("{} exists; name a folder that does not, or remove it", host.display());
    }
    fs::create_dir_all(&host).with_context(|| format!("cannot make {}", host.display()))?;
    let node = node(&host)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let kubelet = Kubelet::builder(folder.join("kubelet")).host_root(&host).start().await?;
        println!("node {}\nkubelet {}\n", host.display(), folder.join("kubelet").display());
        let mut desk = Desk { node, kubelet, pods: HashMap::new() };
        prompt();
        for line in std::io::stdin().lock().lines() {
            match desk.obey(line?.trim()).await {
                Ok(true) => prompt(),
                Ok(false) => break,
                Err(error) => {
                    println!("{error:#}");
                    prompt();
                }
            }
        }
        Ok(())
    })
}

fn prompt() {
    print!("> ");
    let _ = std::io::stdout().flush();
}

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

/// What the prompt works on.
struct Desk {
    node: Node,
    kubelet: Kubelet,
    /// The UID of each pod, by name.
    pods: HashMap<String, String>,
}

impl Desk {
    /// Carries out one command; false ends the program.
    async fn obey(&mut self, line: &str) -> Result<bool> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            [] => {}
            ["help"] => println!("{HELP}"),
            ["quit" | "exit"] => return Ok(false),
            ["show"] => self.show(),
            ["admit", pod, ref requests @ ..] => self.admit(pod, requests).await?,
            ["finish", pod] => {
                let uid = self.pods.remove(pod).ok_or_else(|| anyhow!("there is no pod {pod}"))?;
                self.kubelet.finish_pod(&uid);
            }
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

    fn show(&self) {
        self.kubelet.look(|state| {
            for resource in state.resources() {
                println!(
                    "{resource}  capacity {}  allocatable {}",
                    state.capacity(&resource),
                    state.allocatable(&resource)
                );
                let allocated = state.allocated(&resource);
                for (id, device) in state.devices(&resource) {
                    let used = if allocated.contains(&id) { "  in use" } else { "" };
                    println!("  {id}  {:?}{used}", device.health);
                }
            }
            if state.resources().is_empty() {
                println!("no plugin has registered a resource");
            }
        });
    }

    async fn admit(&mut self, pod: &str, requests: &[&str]) -> Result<()> {
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
                println!("  {name}={value}");
            }
            for device in &container.options.devices {
                println!("  {} ({})", device.host_path, device.permissions);
            }
        }
        self.kubelet.start_container(admitted.uid(), "compute").await?;
        println!("  started");
        Ok(())
    }
}
