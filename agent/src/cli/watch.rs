//! `vfiod watch`: what changes on this node, a line each.

use super::{
    Failure,
    known::{Change, Known, holder, owner},
    source::{self, News},
    witness::WitnessArgs,
};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::{
    io::{self, Write},
    sync::mpsc,
    time::{Duration, UNIX_EPOCH},
};
use vfiod_proto::status::{Holder, Row};

/// Shows what changes.
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    witness: WitnessArgs,
    /// How it is written; json is one object a line
    #[arg(short, long, env = "VFIOD_OUTPUT", value_enum, default_value_t)]
    output: Output,
    /// End after so many lines
    #[arg(long, env = "VFIOD_COUNT", value_name = "LINES")]
    count: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// One object a line
    Json,
}

/// One line.
#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Line {
    /// In milliseconds since 1970.
    at_ms: u64,
    /// "listed", "unlisted", "health", "owner", "opened" or "closed".
    what: &'static str,
    resource: Option<String>,
    device: String,
    health: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    next_step: Option<String>,
    /// The owner now; absent where there is none.
    owner: Option<String>,
    /// Who has opened or closed it.
    holder: Option<Holder>,
}

/// Writes a line for every change until it is interrupted.
///
/// # Errors
/// When the daemon cannot be asked, or the configuration is bad.
pub(super) fn run(args: WatchArgs) -> Result<(), Failure> {
    let WatchArgs { witness, output, mut count } = args;
    let socket = witness.socket().display().to_string();
    let (told, news) = mpsc::channel();
    source::start(witness, move |piece| told.send(piece).is_ok())?;
    let mut known = Known::default();
    for piece in news {
        match piece {
            News::Daemon => say(&format!("following the running vfiod on {socket}")),
            News::Host(notes) => notes.iter().for_each(|note| say(note)),
            News::Lost(reason) => say(&format!("vfiod on {socket} answers no more: {reason}; trying again")),
            News::Failed(failure) => return Err(failure),
            News::Update(update) => {
                for line in known.take(*update).iter().flat_map(lines) {
                    if count == Some(0) {
                        return Ok(());
                    }
                    write(&line, output)?;
                    count = count.map(|count| count - 1);
                }
            }
        }
        if count == Some(0) {
            return Ok(());
        }
    }
    Ok(())
}

fn say(text: &str) {
    _ = writeln!(io::stderr(), "{text}");
}

/// What there is to say of a change.
fn lines(change: &Change) -> Vec<Line> {
    let Change { at_ms, before, now } = change;
    let Some(row) = now.as_ref().or(before.as_ref()) else { return Vec::new() };
    let shown = now.as_ref();
    let line = |what, holder: Option<&Holder>| Line {
        at_ms: *at_ms,
        what,
        resource: row.resource.clone(),
        device: row.device.clone(),
        health: shown.map(|row| row.health.clone()),
        reason: shown.map(|row| row.reason.clone()),
        message: shown.map(|row| row.message.clone()),
        next_step: shown.and_then(|row| row.next_step.clone()),
        owner: shown.filter(|row| row.owner.is_some()).map(owner),
        holder: holder.cloned(),
    };
    let (Some(before), Some(now)) = (before, now) else {
        return vec![line(if now.is_some() { "listed" } else { "unlisted" }, None)];
    };
    let mut lines = Vec::new();
    if before.owner != now.owner {
        lines.push(line("owner", None));
    }
    for (what, of, others) in [("closed", before, now), ("opened", now, before)] {
        let other = |holder: &&Holder| !others.holders.iter().any(|other| other.pid == holder.pid);
        lines.extend(of.holders.iter().filter(other).map(|holder| line(what, Some(holder))));
    }
    let told = |row: &Row| (row.health.clone(), row.reason.clone(), row.message.clone());
    let only_the_owner = now.reason == "Owned" && !lines.is_empty() && before.health == now.health;
    if told(before) != told(now) && !only_the_owner {
        lines.push(line("health", None));
    }
    lines
}

fn write(line: &Line, output: Output) -> Result<(), Failure> {
    let text = match output {
        Output::Text => text(line),
        Output::Json => {
            serde_json::to_string(line).map_err(|error| Failure::Error(format!("cannot write the change: {error}")))?
        }
    };
    match writeln!(io::stdout(), "{text}") {
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Logged(0)),
        Err(error) => Err(Failure::Error(format!("cannot write to stdout: {error}"))),
        Ok(()) => Ok(()),
    }
}

fn text(line: &Line) -> String {
    let when = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(line.at_ms));
    let resource = line.resource.as_deref().unwrap_or("-");
    let health = line.health.as_deref().unwrap_or_default();
    let message = line.message.as_deref().unwrap_or_default();
    let next = line.next_step.as_ref().map(|step| format!("; {step}")).unwrap_or_default();
    let said = match (line.what, &line.holder) {
        ("opened" | "closed", Some(by)) => {
            let row = Row { holders: vec![by.clone()], ..Row::default() };
            let pod = by.pod.as_ref().or(by.pod_uid.as_ref()).map(|pod| format!(" in pod {pod}")).unwrap_or_default();
            format!("by {}{pod} ({})", holder(&row), by.relation)
        }
        ("owner", _) => line.owner.clone().map_or_else(|| "nobody".to_owned(), |owner| format!("is {owner}")),
        ("unlisted", _) => "no longer listed".to_owned(),
        _ => format!("{health}: {message}{next}"),
    };
    format!("{when} {:8} {} {resource} {}", line.what, line.device, said.replace(char::is_control, "·"))
}

#[cfg(test)]
mod tests {
    use super::{super::known::tests::row, *};
    use vfiod_proto::status::Owner;

    fn told(before: Option<Row>, now: Option<Row>) -> Vec<String> {
        lines(&Change { at_ms: 0, before, now }).iter().map(text).map(|text| text[25..].to_owned()).collect()
    }

    #[test]
    fn a_change_of_health_says_why_and_what_to_do() {
        let before = row("a/gpu", "0000:3b:00.0", "Healthy", "Ready");
        let mut now = row("a/gpu", "0000:3b:00.0", "Unhealthy", "DriverUnbound");
        now.next_step = Some("bind it".to_owned());
        assert_eq!(
            told(Some(before.clone()), Some(now)),
            ["health   0000:3b:00.0 a/gpu Unhealthy: because of DriverUnbound; bind it"]
        );
        assert_eq!(told(Some(before), None), ["unlisted 0000:3b:00.0 a/gpu no longer listed"]);
    }

    #[test]
    fn an_owner_and_his_process_have_a_line_each() {
        let before = row("a/gpu", "1", "Healthy", "Ready");
        let mut now = row("a/gpu", "1", "Healthy", "Owned");
        now.owner = Some(Owner { namespace: Some("ns".into()), pod: Some("vm".into()), ..Owner::default() });
        now.holders = vec![Holder { pid: 7, command: "qemu".into(), relation: "own".into(), ..Holder::default() }];
        let lines = told(Some(before.clone()), Some(now.clone()));
        assert_eq!(lines, ["owner    1 a/gpu is ns/vm", "opened   1 a/gpu by 7 qemu (own)"]);
        let lines = told(Some(now), Some(before));
        assert_eq!(
            lines,
            [
                "owner    1 a/gpu nobody",
                "closed   1 a/gpu by 7 qemu (own)",
                "health   1 a/gpu Healthy: because of Ready"
            ]
        );
    }
}
