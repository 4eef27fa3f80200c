//! `vfiod devices`: every candidate on this host, and why it can or cannot be allocated.
//!
//! It reads the host, the configuration and the kubelet's state for itself: it needs no running daemon and changes
//! nothing. What the daemon would say of a device it says too, for both ask
//! [`Inventory::examine`](vfiod_core::inventory::Inventory::examine).

mod list;
mod survey;
mod table;

use super::{Failure, sight};
use crate::io::{IoMode, Runtime};
use clap::{Args, ValueEnum};
use list::DeviceList;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};
use vfiod_core::permit::{Permit, ServeMode};

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
    let seen = sight::look(permit, &args.host_root, &args.kubelet_dir).await;
    survey.notes.extend(seen.notes);

    let others = args.all || args.config.is_none();
    survey.list = survey::list(&seen.inventory, others);
    survey.list.complete = seen.complete;
    survey.notes.extend(survey::remarks(&seen.inventory, &survey.list, args.config.is_some()));
    Ok(survey)
}

impl Survey {
    async fn read_config(&mut self, path: &Path, serve: ServeMode) -> Result<Permit, Failure> {
        let parsed = sight::read_config(path, serve).await?;
        self.problems = parsed.problems.len();
        self.notes.extend(sight::findings(path, &parsed));
        Ok(parsed.permit)
    }
}
