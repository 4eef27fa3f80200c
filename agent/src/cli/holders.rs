//! `vfiod holders`: which process has which device open, and whom the kubelet gave it to.

mod table;

use super::{
    Failure,
    witness::{Witness, WitnessArgs},
};
use crate::{
    holders,
    io::{IoMode, Runtime},
};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::io::{self, Write};
use tonic::Status;
use vfiod_proto::status::{HeldObject, HolderEvent, HoldersReply, HoldersRequest, Sight};

/// Shows who has what open.
#[derive(Debug, Args)]
pub(super) struct HoldersArgs {
    #[command(flatten)]
    witness: WitnessArgs,
    /// Go on with a line for every open and every release; needs a running daemon
    #[arg(short, long, env = "VFIOD_FOLLOW")]
    follow: bool,
    /// How it is written; with --follow, json is one object a line
    #[arg(short, long, env = "VFIOD_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line for each holder
    #[default]
    Table,
    /// See docs/HOLDERS-JSON.md
    Json,
}

/// What `-o json` writes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HolderList {
    api_version: &'static str,
    kind: &'static str,
    /// "daemon" or "host".
    source: &'static str,
    sight: Sight,
    objects: Vec<HeldObject>,
}

/// Asks and writes.
///
/// # Errors
/// When the daemon cannot be asked, or the configuration is bad.
pub(super) fn run(args: &HoldersArgs) -> Result<(), Failure> {
    let (runtime, _) = Runtime::start(IoMode::Plain).map_err(|error| Failure::Error(error.to_string()))?;
    runtime.block_on(async { if args.follow { follow(args).await } else { show(args).await } })
}

async fn show(args: &HoldersArgs) -> Result<(), Failure> {
    let (source, reply, notes) = match args.witness.find().await? {
        Witness::Daemon(mut client) => {
            let reply = client.holders(HoldersRequest {}).await.map_err(|status| failed(&status))?;
            ("daemon", reply.into_inner(), Vec::new())
        }
        Witness::Host(view) => ("host", holders::held(&view.inventory, &view.tracker), view.notes),
    };
    let HoldersReply { sight, objects } = reply;
    let sight = sight.unwrap_or_default();
    for note in notes.into_iter().chain(sight.unknown.iter().map(|unknown| format!("not known: {unknown}"))) {
        _ = writeln!(io::stderr(), "{note}");
    }
    match args.output {
        Output::Table => {
            if objects.is_empty() {
                _ = writeln!(io::stderr(), "nobody has a VFIO device open");
            }
            write(&table::render(&objects))
        }
        Output::Json => {
            write_json(&HolderList { api_version: "vfiod.dev/v1", kind: "HolderList", source, sight, objects }, true)
        }
    }
}

async fn follow(args: &HoldersArgs) -> Result<(), Failure> {
    let Some(mut client) = args.witness.daemon().await? else {
        let socket = args.witness.socket().display();
        return Err(Failure::Error(format!(
            "no vfiod answers on {socket}, and only a running one sees devices being opened and closed; start it, or leave --follow away"
        )));
    };
    let mut events = client.follow_holders(HoldersRequest {}).await.map_err(|status| failed(&status))?.into_inner();
    while let Some(event) = events.message().await.map_err(|status| failed(&status))? {
        match args.output {
            Output::Table => write(&line(&event))?,
            Output::Json => write_json(&event, false)?,
        }
    }
    _ = writeln!(io::stderr(), "vfiod has ended the stream");
    Ok(())
}

/// One event as a line for people.
fn line(event: &HolderEvent) -> String {
    let when = if event.at_ms == 0 { "-".to_owned() } else { table::time(event.at_ms) };
    let resource = event.resource.as_deref().unwrap_or("-");
    let object = if event.kind == "group" { format!("group {}", event.id) } else { event.id.clone() };
    let by = event.holder.as_ref().map_or_else(|| "nobody who shows it".to_owned(), table::holder);
    let count = event.open_count.map(|count| format!(", open count {count}")).unwrap_or_default();
    format!("{when} {:6} {object} {resource} {by}{count}\n", event.what)
}

fn write_json(value: &impl Serialize, pretty: bool) -> Result<(), Failure> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = text.map_err(|error| Failure::Error(format!("cannot write the holders: {error}")))?;
    write(&(text + "\n"))
}

/// A reader that has seen enough is no failure.
fn write(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Logged(0)),
        Err(error) => Err(Failure::Error(format!("cannot write to stdout: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// What the daemon answered instead.
pub(super) fn failed(status: &Status) -> Failure {
    Failure::Error(format!("vfiod does not answer: {}", status.message()))
}
