//! `cargo xtask build-and-deploy`: from the sources to nodes that serve their devices.
//!
//! ```text
//! probe      the object in the repository is of its sources
//! image      built, without an engine
//! load       into the engine of this machine, or push: to a registry that the nodes can reach
//! manifests  the overlay with that image, rendered and checked strictly, without a cluster
//! apply      kubectl apply
//! rollout    waits until every node runs it
//! report     what each node serves
//! ```
//!
//! Every step can be repeated; what is there already is left as it is.

mod cluster;
mod manifests;
mod transport;

use crate::{ebpf, image, kubectl::KUBECTL, process, workspace};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use manifests::Rollout;
use std::{path::PathBuf, process::ExitCode, time::Instant};
use transport::Transport;

/// The first version whose API server takes `maxSurge` in a DaemonSet unless told otherwise (kubernetes:
/// `pkg/features/kube_features.go`, `DaemonSetUpdateSurge`). Older ones refuse it.
const SURGES: (u32, u32) = (1, 22);

/// What to deploy, and where to.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The kubectl context of the cluster (default: kubectl's current one)
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// One of deploy/overlays, by its name, or the folder of a kustomization of your own, as a path with a slash
    #[arg(long, value_name = "OVERLAY|DIR", default_value = "kubevirt")]
    overlay: String,
    /// Load the image into the engine of this machine, which must be the cluster's only node; `kind`: into a kind cluster
    #[arg(long, value_enum, conflicts_with = "push")]
    load: Option<Engine>,
    /// The kind cluster to load into
    #[arg(long, value_name = "NAME", default_value = "kind", requires = "load")]
    kind_name: String,
    /// Push the image to a registry, as REF (name and tag, such as registry.example.com/vfiod:1)
    #[arg(long, value_name = "REF")]
    push: Option<String>,
    /// Seconds that the rollout may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Build nothing and touch no cluster: show the plan, and check the manifests
    #[arg(long)]
    dry_run: bool,
}

/// Engines that load an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// containerd, in the namespace of the kubelet (k8s.io)
    Containerd,
    /// The nodes of a kind cluster
    Kind,
    /// podman, for CRI-O, which shares its store
    Podman,
}

/// Runs the task.
///
/// # Errors
/// When a step fails; the message says which, and what it lacks. Everything before it has been done and need not be
/// undone.
pub fn main(args: &Args) -> Result<ExitCode> {
    let begun = Instant::now();
    if !manifests::folder(&args.overlay).join("kustomization.yaml").is_file() {
        bail!(
            "there is no overlay {:?}; there are {}, and folders of your own, written with a slash",
            args.overlay,
            overlays()?.join(", ")
        );
    }
    let transport = Transport::of(args);
    if args.dry_run {
        return dry_run(args, &transport);
    }
    needs(&transport)?;

    step("probe", "is the object in the repository of its sources?");
    ebpf::is_of_its_sources()?;
    step("image", "static program, licences, archive");
    let image = image::write(transport.name(), &image::default_path()?)?;
    println!("   {} ({} bytes, {})", image.reference, image.size, image.digest);
    step("transport", &transport.to_string());
    let reference = transport.bring(&image)?;
    step("manifests", &format!("overlay {} with {reference}", args.overlay));
    let mut rendered = manifests::render(&args.overlay, &reference, Rollout::Surge)?;
    manifests::check(&rendered)?;
    let cluster = cluster::Cluster::new(args.context.as_deref());
    let (major, minor) = cluster.version()?;
    if (major, minor) < SURGES {
        println!(
            "   the API server is a {major}.{minor}, which knows no surge: on a rollout the old instance ends first"
        );
        rendered = manifests::render(&args.overlay, &reference, Rollout::OneByOne)?;
    }
    step("apply", &format!("{cluster}"));
    cluster.apply(&rendered)?;
    step("rollout", &format!("at most {} s", args.timeout));
    cluster.wait(args.timeout)?;
    step("report", "what each node serves");
    cluster.report()?;
    println!("\ndone in {} s", begun.elapsed().as_secs());
    Ok(ExitCode::SUCCESS)
}

fn step(name: &str, what: &str) {
    println!("== {name}: {what}");
}

/// Everything that could be done without building and without a cluster.
fn dry_run(args: &Args, transport: &Transport) -> Result<ExitCode> {
    let reference = transport.reference_to_come();
    println!("plan:");
    for (number, line) in plan(args, transport, &reference).iter().enumerate() {
        println!("{:>3}. {line}", number + 1);
    }
    for missing in transport.missing() {
        println!("missing: {missing}");
    }
    if process::find(KUBECTL).is_none() {
        println!("missing: {NO_KUBECTL}\nthe manifests are not checked");
        return Ok(ExitCode::FAILURE);
    }
    println!("\nmanifests of overlay {}:", args.overlay);
    let rendered = manifests::render(&args.overlay, &reference, Rollout::Surge)?;
    manifests::check(&rendered)?;
    println!("\nthe manifests are sound; they are in {}", rendered.display());
    Ok(ExitCode::SUCCESS)
}

fn plan(args: &Args, transport: &Transport, reference: &str) -> Vec<String> {
    let cluster = cluster::Cluster::new(args.context.as_deref());
    vec![
        "see that the probe's object is of its sources".to_owned(),
        "build the static vfiod and its image (cargo xtask image)".to_owned(),
        transport.to_string(),
        format!("render overlay {} with image {reference}, and check it", args.overlay),
        cluster.shown(&["apply", "--filename", "target/deploy/manifests.yaml"]),
        cluster.shown(&cluster::rollout(&format!("--timeout={}s", args.timeout))),
        format!("show what each node serves ({} exec … vfiod devices)", cluster.shown(&[])),
    ]
}

const NO_KUBECTL: &str =
    "kubectl; get it with `apt-get install kubernetes-client`, or from kubernetes.io/docs/tasks/tools";

fn needs(transport: &Transport) -> Result<()> {
    let mut missing = transport.missing();
    if process::find(KUBECTL).is_none() {
        missing.push(NO_KUBECTL.to_owned());
    }
    if !missing.is_empty() {
        bail!("missing: {}", missing.join("\nmissing: "));
    }
    Ok(())
}

fn overlays() -> Result<Vec<String>> {
    let folder = workspace::root().join("deploy/overlays");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> =
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}

/// The folder for what is rendered.
fn scratch() -> Result<PathBuf> {
    let folder = workspace::target()?.join("deploy");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn of(line: &str) -> Result<Args, clap::Error> {
        Cli::try_parse_from(std::iter::once("deploy").chain(line.split_whitespace())).map(|cli| cli.args)
    }

    #[test]
    fn the_plan_names_cluster_overlay_and_image() {
        let args = of("--context lab --overlay minimal --push registry.example.com/vfiod:7").unwrap();
        let transport = Transport::of(&args);
        let plan = plan(&args, &transport, &transport.reference_to_come()).join("\n");
        for part in ["--context lab", "overlay minimal", "registry.example.com/vfiod:7", "skopeo", "rollout status"] {
            assert!(plan.contains(part), "{part:?} is not in\n{plan}");
        }
    }

    #[test]
    fn an_image_goes_one_way_only() {
        assert!(of("--load kind --push registry.example.com/vfiod:7").is_err());
        assert!(of("--kind-name lab").is_err());
        assert!(of("--load kind --kind-name lab").is_ok());
    }
}
