//! `vfiod explain`: one device, what is true, what is missing, what to do next.

use super::{
    Failure,
    holders::failed,
    witness::{Witness, WitnessArgs},
};
use crate::{
    holders,
    io::{IoMode, Runtime},
};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::{
    fmt::Write as _,
    io::{self, Write},
    time::Duration,
};
use tonic::Code;
use vfiod_core::device::DeviceId;
use vfiod_proto::status::{ExplainRequest, Explanation};

/// Explains one device.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Its address (0000:3b:00.0) or, for a mediated device, its UUID
    #[arg(value_name = "DEVICE")]
    device: DeviceId,
    #[command(flatten)]
    witness: WitnessArgs,
    /// How it is written
    #[arg(short, long, env = "VFIOD_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// See docs/HOLDERS-JSON.md
    Json,
}

/// What `-o json` writes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    api_version: &'static str,
    kind: &'static str,
    /// "daemon" or "host".
    source: &'static str,
    #[serde(flatten)]
    explanation: Explanation,
}

/// Asks and writes.
///
/// # Errors
/// When nobody knows the device, the daemon cannot be asked, or the configuration is bad.
pub(super) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let (runtime, _) = Runtime::start(IoMode::Plain).map_err(|error| Failure::Error(error.to_string()))?;
    let (source, explanation) = runtime.block_on(ask(args))?;
    let text = match args.output {
        Output::Text => render(&explanation, source),
        Output::Json => {
            let document = Document { api_version: "vfiod.dev/v1", kind: "Explanation", source, explanation };
            let text = serde_json::to_string_pretty(&document);
            text.map_err(|error| Failure::Error(format!("cannot write the explanation: {error}")))? + "\n"
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Error(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

async fn ask(args: &ExplainArgs) -> Result<(&'static str, Explanation), Failure> {
    let id = args.device;
    let unknown = || {
        Failure::Error(format!(
            "neither this host nor its kubelet knows {id}; `vfiod devices --all` shows what there is"
        ))
    };
    match args.witness.find().await? {
        Witness::Daemon(mut client) => match client.explain(ExplainRequest { device: id.to_string() }).await {
            Ok(reply) => Ok(("daemon", reply.into_inner())),
            Err(status) if status.code() == Code::NotFound => Err(unknown()),
            Err(status) => Err(failed(&status)),
        },
        Witness::Host(view) => {
            for note in &view.notes {
                _ = writeln!(io::stderr(), "{note}");
            }
            let explanation = holders::explain(&view.inventory, &view.tracker, id, Duration::ZERO);
            explanation.map(|explanation| ("host", explanation)).ok_or_else(unknown)
        }
    }
}

fn render(explanation: &Explanation, source: &str) -> String {
    let Explanation { device, resource, health, message, listed, findings, sight, .. } = explanation;
    let mut text = String::new();
    let resource = resource.as_deref().unwrap_or("of no resource");
    _ = writeln!(text, "{device}  {resource}  {health}: {message}");
    let told = match (*listed, source) {
        (true, "daemon") => "The kubelet's list has it so.",
        (true, _) => "A running vfiod would list it so.",
        (false, _) => "It is not listed.",
    };
    _ = writeln!(text, "{told}\n");
    for finding in findings {
        let mark = match finding.standing.as_str() {
            "good" => "ok ",
            "bad" => "BAD",
            _ => " - ",
        };
        _ = writeln!(text, "  {mark}  {:9} {}", finding.subject, finding.text.replace(char::is_control, "·"));
        if let Some(next) = &finding.next_step {
            _ = writeln!(text, "       {:9} next: {next}", "");
        }
    }
    for unknown in sight.iter().flat_map(|sight| &sight.unknown) {
        _ = writeln!(text, "\nNot known: {unknown}.");
    }
    text
}
