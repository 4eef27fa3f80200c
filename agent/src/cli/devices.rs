//! `vfiod devices`: every candidate on this host, and why it can or cannot be allocated.
//!
//! It reads the host, the configuration and the kubelet's state for itself: it needs no running daemon and changes
//! nothing. What the daemon would say of a device it says too, for both ask [`Inventory::examine`].

mod list;
mod survey;
mod table;

use super::Failure;
use crate::{
    discovery::{HostRoot, Scan, scan},
    io::{FileIo, IoMode, Runtime},
    ownership::Sources,
};
use clap::{Args, ValueEnum};
use list::DeviceList;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use vfiod_core::{
    inventory::{Completeness, Inventory},
    ownership::{Reading, Source},
    permit::{DOCUMENT_MAX, Permit, ServeMode, decode, parse},
};

/// Shows the devices of this host: resource, driver, IOMMU group, NUMA node, health and why.
#[derive(Debug, Args)]
pub(super) struct DevicesArgs {
    /// What is permitted; without it, whatever is bound to a VFIO driver is shown
    #[arg(long, env = "VFIOD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the host's /sys, /dev, /proc and /var/log/pods are found
    #[arg(long, env = "VFIOD_HOST_ROOT", value_name = "DIR", default_value = "/")]
    host_root: PathBuf,
    /// The kubelet's folder, which says who owns a device
    #[arg(long, env = "VFIOD_KUBELET_DIR", value_name = "DIR", default_value = "/var/lib/kubelet")]
    kubelet_dir: PathBuf,
    /// Which entries count as served: of a KubeVirt CR those with externalResourceProvider, else all (auto); only those; all
    #[arg(long, env = "VFIOD_SERVE", value_name = "auto|external|all", default_value = "auto")]
    serve: ServeMode,
    /// Show also what is bound to a VFIO driver and not permitted
    #[arg(long, env = "VFIOD_ALL")]
    all: bool,
    /// How the devices are written
    #[arg(short, long, env = "VFIOD_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

/// How the devices are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line a device
    #[default]
    Table,
    /// A longer line a device
    Wide,
    /// See docs/DEVICES-JSON.md
    Json,
    /// The same as YAML
    Yaml,
}

/// What was seen, and what is to be said besides.
#[derive(Debug, Default)]
struct Survey {
    list: DeviceList,
    /// Lines for stderr.
    notes: Vec<String>,
    /// How many problems the configuration has.
    problems: usize,
}

/// Reads the host and writes its devices.
///
/// # Errors
/// When the configuration is bad, or the host cannot be read in full; what could be read is written nevertheless.
pub(super) fn run(args: &DevicesArgs) -> Result<(), Failure> {
    let (runtime, _) = Runtime::start(IoMode::Plain).map_err(|error| Failure::Error(error.to_string()))?;
    let survey = runtime.block_on(look(args))?;
    for note in &survey.notes {
        _ = writeln!(io::stderr(), "{note}");
    }
    let text = render(&survey.list, args.output)?;
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::Error(format!("cannot write to stdout: {error}")));
        }
        _ => {}
    }
    match (survey.list.complete, survey.problems, &args.config) {
        (false, ..) => Err(Failure::Error("the host could not be read in full; see the faults above".to_owned())),
        (true, 0, _) | (true, _, None) => Ok(()),
        (true, problems, Some(path)) => Err(Failure::Config(format!(
            "{}: {problems} problem(s), told above; without them more devices may be permitted",
            path.display()
        ))),
    }
}

fn render(list: &DeviceList, output: Output) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Error(format!("cannot write the devices: {error}"));
    match output {
        Output::Table => Ok(table::render(list, false)),
        Output::Wide => Ok(table::render(list, true)),
        Output::Json => serde_json::to_string_pretty(list).map(|text| text + "\n").map_err(|error| failed(&error)),
        Output::Yaml => {
            // Unquoted, 0000:01:00.0 is the number 60 to readers of YAML 1.1.
            let options = serde_saphyr::ser_options! { quote_all: true };
            serde_saphyr::to_string_with_options(list, options).map_err(|error| failed(&error))
        }
    }
}

async fn look(args: &DevicesArgs) -> Result<Survey, Failure> {
    let mut survey = Survey::default();
    let permit = match &args.config {
        Some(path) => survey.read_config(path, args.serve).await?,
        None => Permit::default(),
    };
    let root = HostRoot::new(&args.host_root);
    let mut sources = Sources::new(FileIo::Plain, &args.kubelet_dir, root.path());
    let reading = sources.read(Duration::ZERO).await;
    survey.note_sources(&args.kubelet_dir, &reading);

    let mut scan = scan(&root);
    survey.notes.extend(scan.faults.iter().map(|fault| format!("fault: {fault}")));
    let complete = completeness(&scan);
    let nodes_known = scan.nodes.is_some();
    let mut inventory = Inventory::default();
    inventory.set_permit(Arc::new(permit));
    inventory.scanned(
        std::mem::take(&mut scan.devices),
        std::mem::take(&mut scan.groups),
        scan.nodes.take(),
        &complete,
    );
    inventory.observed(&reading);

    let others = args.all || args.config.is_none();
    survey.list = survey::list(&inventory, others);
    survey.list.complete = complete.pci && complete.mdev && nodes_known;
    survey.notes.extend(survey::remarks(&inventory, &survey.list, args.config.is_some()));
    Ok(survey)
}

fn completeness(scan: &Scan) -> Completeness {
    let unreadable = scan.faults.iter().filter_map(|fault| fault.device).collect();
    Completeness { pci: scan.complete.pci, mdev: scan.complete.mdev, unreadable }
}

impl Survey {
    async fn read_config(&mut self, path: &Path, serve: ServeMode) -> Result<Permit, Failure> {
        let bytes = FileIo::Plain.read(path, DOCUMENT_MAX).await.map_err(|error| {
            Failure::Error(format!("{}: cannot be read: {error}; name a readable file with --config", path.display()))
        })?;
        let parsed = decode(&bytes)
            .and_then(|text| parse(text, serve))
            .map_err(|problem| Failure::Config(format!("{}:{problem}", path.display())))?;
        let problems = parsed.problems.iter().map(|problem| format!("{}:{problem}", path.display()));
        let notices = parsed.notices.iter().map(|notice| format!("{}:{notice}", path.display()));
        self.problems = parsed.problems.len();
        self.notes.extend(problems.chain(notices));
        Ok(parsed.permit)
    }

    /// One source is enough to know the owners; none is worth a word, because free and owned then look alike.
    fn note_sources(&mut self, kubelet_dir: &Path, reading: &Reading) {
        let folder = kubelet_dir.join("device-plugins");
        let reason = match (&reading.checkpoint, &reading.pod_resources) {
            (_, Source::Read(_)) => return,
            (Source::Unavailable(reason), _) => reason.clone(),
            (Source::Read(_), _) if folder.is_dir() => return,
            (Source::Read(_), _) => format!("there is no folder {}", folder.display()),
        };
        self.notes.push(format!("owners are not known: {reason}; name the kubelet's folder with --kubelet-dir"));
    }
}
