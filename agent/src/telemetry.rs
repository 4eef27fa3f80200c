//! The log: to stderr, as text or as JSON lines.

use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

/// How log lines are written (`--log-format`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log. `filter` is a level (`info`) or a list of directives (`vfiod::plugin=debug,info`).
///
/// # Errors
/// When `filter` cannot be read.
pub fn start(format: LogFormat, filter: &str) -> Result<(), String> {
    // What the client of the API server meets is told where it is known what it means for the node.
    let quiet = if filter.contains("kube") { filter.to_owned() } else { format!("{filter},kube_client=off") };
    let filter = EnvFilter::try_new(&quiet).map_err(|error| {
        format!("--log-level {filter:?} is not a level or a list of directives: {error}; write error, warn, info, debug or trace")
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // What cannot be logged cannot be complained about there either: a full disk must not end the daemon.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => lines.finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    }
    .map_err(|error| format!("the log cannot be started: {error}"))
}
