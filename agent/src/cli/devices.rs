//! `vfiod devices`: every candidate on this host, and why it can or cannot be allocated.
//!
//! The running daemon says what it has, those included that it does not list; where none runs, the host, the configuration
//! and the kubelet's state are read here. Both ask [`candidates`], and neither changes anything.

mod table;

use super::{
    Failure,
    holders::failed,
    witness::{Witness, WitnessArgs},
};
use crate::{
    io::{IoMode, Runtime},
    status::{candidates, permitted, remarks},
};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::{
    io::{self, Write},
    time::Duration,
};
use tonic::Code;
use vfiod_proto::status::{DeviceList, DevicesReply, DevicesRequest};

/// Shows the devices of this host: resource, driver, IOMMU group, NUMA node, health, owner, holder and why.
#[derive(Debug, Args)]
pub(super) struct DevicesArgs {
    #[command(flatten)]
    witness: WitnessArgs,
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

/// What `-o json` writes. Stable: `docs/DEVICES-JSON.md` describes every field, and a test holds it to that.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    /// "daemon" or "host".
    source: &'static str,
    #[serde(flatten)]
    list: &'a DeviceList,
}

/// Asks the daemon or reads the host, and writes its devices.
///
/// # Errors
/// When the daemon cannot be asked, the configuration is bad, or the host could not be read in full; what is known is
/// written nevertheless.
pub(super) fn run(args: &DevicesArgs) -> Result<(), Failure> {
    let (runtime, _) = Runtime::start(IoMode::Plain).map_err(|error| Failure::Error(error.to_string()))?;
    let (source, reply) = runtime.block_on(ask(args))?;
    let DevicesReply { list, notes, problems, configuration } = reply;
    let list = list.unwrap_or_default();
    for note in notes {
        _ = writeln!(io::stderr(), "{note}");
    }
    let text = render(&list, source, args.output)?;
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::Error(format!("cannot write to stdout: {error}")));
        }
        _ => {}
    }
    match (list.complete, problems) {
        (false, _) => Err(Failure::Error("the host could not be read in full; see the faults above".to_owned())),
        (true, 0) => Ok(()),
        (true, problems) => Err(Failure::Config(format!(
            "{configuration}: {problems} problem(s), told above; without them more devices may be permitted"
        ))),
    }
}

async fn ask(args: &DevicesArgs) -> Result<(&'static str, DevicesReply), Failure> {
    let witness = &args.witness;
    match witness.find().await? {
        Witness::Daemon(mut client) => {
            let reply = client.devices(DevicesRequest { others: args.all }).await.map_err(|status| {
                if status.code() == Code::Unimplemented {
                    let socket = witness.socket().display();
                    return Failure::Error(format!(
                        "the vfiod that answers on {socket} is older than this command and does not tell its devices; \
                         read the host itself with --from host"
                    ));
                }
                failed(&status)
            })?;
            let mut reply = reply.into_inner();
            reply.notes.splice(..0, witness.says_daemon());
            Ok(("daemon", reply))
        }
        Witness::Host(view) => {
            let mut list = candidates(&view.inventory, &view.tracker, args.all || !view.configured, Duration::ZERO);
            list.complete = view.complete;
            let mut notes = view.notes;
            notes.extend(remarks(&permitted(&view.inventory), &list));
            if list.devices.is_empty() && !view.configured {
                notes.push(
                    "no device on this host is bound to a VFIO driver; bind one (write vfio-pci to its driver_override, \
                     then its address to /sys/bus/pci/drivers_probe), or name with --config what is permitted, to see \
                     all candidates"
                        .to_owned(),
                );
            }
            let configuration = witness.configuration().map(|path| path.display().to_string()).unwrap_or_default();
            Ok(("host", DevicesReply { list: Some(list), notes, problems: view.problems, configuration }))
        }
    }
}

fn render(list: &DeviceList, source: &'static str, output: Output) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Error(format!("cannot write the devices: {error}"));
    let document = Document { api_version: "vfiod.dev/v1", kind: "DeviceList", source, list };
    match output {
        Output::Table => Ok(table::render(list, false)),
        Output::Wide => Ok(table::render(list, true)),
        Output::Json => serde_json::to_string_pretty(&document).map(|text| text + "\n").map_err(|error| failed(&error)),
        Output::Yaml => {
            // Unquoted, 0000:01:00.0 is the number 60 to readers of YAML 1.1.
            let options = serde_saphyr::ser_options! { quote_all: true };
            serde_saphyr::to_string_with_options(&document, options).map_err(|error| failed(&error))
        }
    }
}
