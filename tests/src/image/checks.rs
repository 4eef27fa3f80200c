//! The checks, one sentence each.

use super::{
    container::{Folders, Running, Seccomp, Start, sockets},
    engine::Engine,
};
use crate::manifests;
use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::DaemonSet;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use vfiod::io::{IoMode, Runtime};
use vfiod_simulator::{
    kubelet::{Health, Kubelet, KubeletVersion, PodSpec, State},
    node::{MdevFleet, MdevType, Node, PciFleet, PciSpec},
};

/// How long anything that should happen may take; far longer than it does.
const PATIENCE: Duration = Duration::from_secs(60);

const GPU: &str = "nvidia.com/TU104GL_Tesla_T4";
const QAT: &str = "intel.com/qat";
const VGPU: &str = "nvidia.com/GRID_T4-1Q";

/// What to check.
#[derive(Debug)]
pub struct Subject {
    /// The archive.
    pub archive: PathBuf,
    /// The image's name and tag.
    pub reference: String,
    /// The overlay `file`, rendered.
    pub manifests: String,
}

/// The node, its kubelet and the engine.
struct Scene {
    engine: Engine,
    node: Node,
    kubelet: Kubelet,
    folders: Folders,
    daemon_set: DaemonSet,
    reference: String,
}

impl Scene {
    fn start<'a>(&'a self, id: &'a str, seccomp: Seccomp<'a>, more: &'a [&'a str]) -> Result<Running<'a>> {
        let Self { engine, folders, daemon_set, reference, .. } = self;
        Start { id, reference, daemon_set, folders, seccomp, more }.run(engine)
    }

    async fn wait(&self, what: &str, container: &Running<'_>, condition: impl FnMut(&State) -> bool) -> Result<()> {
        let reached = self.kubelet.wait_for(what, PATIENCE, condition).await;
        reached.with_context(|| format!("the log of vfiod:\n{}", container.log()))
    }
}

/// Makes every check, prints a line for each, and says how many failed.
///
/// # Errors
/// When the engine or the simulated node cannot be started.
pub async fn run(subject: &Subject) -> Result<usize> {
    let scene = scene(subject).await?;
    let mut failed = 0;
    let mut add = |sentence: &str, outcome: Result<()>| match outcome {
        Ok(()) => println!("ok   {sentence}"),
        Err(error) => {
            failed += 1;
            println!("FAIL {sentence}: {error:#}");
        }
    };
    let imported = import(&scene.engine, subject);
    let is_there = imported.is_ok();
    add("containerd imports the archive under the image's own name", imported);
    if is_there {
        add("the program in it starts without any library", starts(&scene));
        add("as the DaemonSet has it, vfiod serves the kubelet", serves(&scene).await);
        add("under the profile of the overlay `uring` it serves on io_uring", on_uring(&scene).await);
        add("a rollout by surge keeps the capacity, and the next one takes the state over", surges(&scene).await);
    }
    Ok(failed)
}

async fn scene(subject: &Subject) -> Result<Scene> {
    let engine = Engine::start()?;
    let at = |name: &str| engine.folder().join(name);
    let folders = Folders { host: at("host"), kubelet: at("kubelet"), others: at("others") };
    fs::create_dir_all(&folders.host)?;
    let kubelet =
        Kubelet::builder(&folders.kubelet).host_root(&folders.host).version(KubeletVersion::V1_32).start().await?;
    let objects = manifests::read(&subject.manifests)?;
    let config = objects.iter().find(|object| object.kind == "ConfigMap");
    let config = config.and_then(|object| object.value.pointer("/data/config.yaml")?.as_str());
    let etc = folders.others.join("etc/vfiod");
    fs::create_dir_all(&etc)?;
    fs::write(etc.join("config.yaml"), config.context("there is no config.yaml in the manifests")?)?;
    let daemon_set = manifests::daemon_set(&objects)?;
    let node = node(&folders.host)?;
    Ok(Scene { engine, node, kubelet, folders, daemon_set, reference: subject.reference.clone() })
}

/// Four T4s, two QATs and four vGPUs: what the overlay `file` permits.
fn node(host: &Path) -> Result<Node> {
    let mut builder = Node::builder().at(host);
    for (bus, group) in [("3b", 31), ("5e", 32), ("af", 33), ("d8", 34)] {
        builder = builder.pci(PciSpec::new(format!("0000:{bus}:00.0"), "10DE:1EB8").driver("vfio-pci").group(group));
    }
    let parents = PciFleet::new("10DE:1EB8", 1).first_domain(2).driver("nvidia");
    let builder = builder
        .pci_fleet(&PciFleet::new("8086:6F54", 2).first_domain(1).driver("vfio-pci"))
        .mdev_fleet(&MdevFleet::new(MdevType::new("nvidia-222", "GRID T4-1Q"), 4, parents));
    Ok(builder.build()?)
}

fn import(engine: &Engine, subject: &Subject) -> Result<()> {
    let archive = subject.archive.display().to_string();
    engine.ctr(["image", "import", "--snapshotter", "native", &archive])?;
    let names = engine.ctr(["image", "list", "--quiet"])?;
    ensure!(names.lines().any(|name| name == subject.reference), "it is known as {names:?}");
    Ok(())
}

fn starts(scene: &Scene) -> Result<()> {
    let words =
        ["run", "--rm", "--snapshotter", "native", "--read-only", &scene.reference, "version", "/usr/bin/vfiod"];
    let said = scene.engine.ctr(words.into_iter().chain(["version"]))?;
    ensure!(said.starts_with("vfiod "), "it said {said:?}");
    Ok(())
}

fn all_there(state: &State) -> bool {
    [(GPU, 4), (QAT, 2), (VGPU, 4)].iter().all(|(name, count)| state.allocatable(name) == *count)
}

async fn serves(scene: &Scene) -> Result<()> {
    let container = scene.start("serves", Seccomp::Default, &[])?;
    scene.wait("all resources of the ConfigMap are allocatable", &container, all_there).await?;
    has_only_what_it_was_given(scene, &container)?;
    admitted(scene).await?;

    scene.node.node_gone(31)?;
    let is =
        |state: &State, health| state.devices(GPU).get("0000:3b:00.0").is_some_and(|device| device.health == health);
    scene.wait("a device whose node is gone is unhealthy", &container, |state| is(state, Health::Unhealthy)).await?;
    scene.node.node_back(31)?;
    scene.wait("it is healthy again", &container, |state| is(state, Health::Healthy)).await?;

    let explained = container.exec(&["explain", "0000:3b:00.0", "--host-root=/host"]);
    explained.context("`kubectl exec … vfiod explain`")?;
    ends_well(&container).await?;
    leaves_nothing(scene)
}

/// The kernel's own account of the process: capabilities, seccomp, privileges.
fn has_only_what_it_was_given(scene: &Scene, container: &Running<'_>) -> Result<()> {
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid()))?;
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(|value| value.trim().to_owned()).with_context(|| format!("no {name} in {status}"))
    };
    let bounding = u64::from_str_radix(&field("CapBnd")?, 16)?;
    let mut wanted = 0;
    for given in manifests::given(&scene.daemon_set).iter().filter(|given| given.starts_with("CAP_")) {
        let capability: caps::Capability = given.parse().map_err(|_| anyhow::anyhow!("{given} is no capability"))?;
        wanted |= capability.bitmask();
    }
    ensure!(bounding == wanted, "its capabilities are {bounding:x}, not {wanted:x}");
    for (name, value) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
        ensure!(field(name)? == value, "{name} is {}", field(name)?);
    }
    Ok(())
}

async fn admitted(scene: &Scene) -> Result<()> {
    let pod = scene.kubelet.admit(PodSpec::new("vms", "vm").container("compute", [(GPU, 1)])).await?;
    let container = pod.container("compute").context("no container")?;
    let name = "PCI_RESOURCE_NVIDIA_COM_TU104GL_TESLA_T4";
    ensure!(container.options.envs.contains_key(name), "{:?}", container.options.envs);
    ensure!(container.options.devices.iter().all(|device| device.host_path.starts_with("/dev/vfio/")));
    scene.kubelet.start_container(pod.uid(), "compute").await?;
    scene.kubelet.finish_pod(pod.uid());
    Ok(())
}

async fn ends_well(container: &Running<'_>) -> Result<()> {
    container.signal("SIGTERM")?;
    until(|| container.has_ended(), "the container ends").await?;
    container.ended_well()
}

/// Waits for `wanted` in the log, which the engine brings later than the container writes it.
async fn says(container: &Running<'_>, wanted: &str) -> Result<()> {
    let said = until(|| Ok(container.log().contains(wanted)), &format!("its log says {wanted:?}")).await;
    said.with_context(|| format!("its log is:\n{}", container.log()))
}

/// Its sockets go with it; those of one that was killed are the next start's to remove.
fn leaves_nothing(scene: &Scene) -> Result<()> {
    let left = sockets(&scene.folders.kubelet.join("device-plugins"))?;
    ensure!(left == ["kubelet.sock"], "it left {left:?} behind");
    Ok(())
}

async fn on_uring(scene: &Scene) -> Result<()> {
    let profile = scene.engine.folder().join("profiles");
    let mounted = format!("--mount=type=bind,src={},dst=/profiles,options=rbind:rw", profile.display());
    fs::create_dir_all(&profile)?;
    // As the overlay's init container does.
    let words = ["run", "--rm", "--snapshotter", "native", "--read-only", &mounted, &scene.reference, "profile"];
    scene.engine.ctr(words.into_iter().chain(["vfiod", "seccomp", "--install=/profiles"]))?;
    let profile = profile.join("uring.json");
    // Where this kernel has no io_uring, epoll is right. An event loop cannot end inside another one.
    let here = std::thread::spawn(|| Runtime::start(IoMode::Uring).is_ok()).join();
    let wanted = match here {
        Ok(true) => "the reactor runs on uring",
        _ => "the reactor runs on epoll",
    };
    let container = scene.start("uring", Seccomp::File(&profile), &["--io=auto"])?;
    scene.wait("all resources are allocatable", &container, all_there).await?;
    says(&container, wanted).await?;
    ends_well(&container).await?;
    leaves_nothing(scene)
}

async fn surges(scene: &Scene) -> Result<()> {
    let old = scene.start("old", Seccomp::Default, &[])?;
    scene.wait("the old one serves", &old, all_there).await?;
    let registered = scene.kubelet.registrations(GPU);
    let new = scene.start("new", Seccomp::Default, &[])?;
    scene.wait("the new one is registered", &new, |state| state.registrations(GPU) > registered).await?;
    old.signal("SIGKILL")?;
    let mut least = usize::MAX;
    scene
        .wait("the new one serves alone", &new, |state| {
            least = least.min(state.capacity(GPU));
            new.log().contains("this one keeps the state now") && all_there(state)
        })
        .await?;
    ensure!(least == 4, "the capacity fell to {least}");
    until(|| Ok(new.exec(&["holders"]).is_ok()), "the new one answers on the status socket").await?;
    until(|| old.has_ended(), "the old one has ended").await?;
    ends_well(&new).await
}

/// Waits until something that is no business of the kubelet is so.
async fn until(mut condition: impl FnMut() -> Result<bool>, what: &str) -> Result<()> {
    let begun = Instant::now();
    while !condition()? {
        if begun.elapsed() > PATIENCE {
            bail!("not within {PATIENCE:?}: {what}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
