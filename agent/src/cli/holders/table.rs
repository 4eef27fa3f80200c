//! Holders as a table for people.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};
use vfiod_proto::status::{HeldObject, Holder, Owner};

const HEADER: [&str; 10] =
    ["DEVICE", "RESOURCE", "OWNER", "PID", "COMMAND", "POD", "CONTAINER", "WHOSE", "SINCE", "OPEN"];

/// A line for each holder; nothing at all where there is none.
pub(super) fn render(objects: &[HeldObject]) -> String {
    if objects.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(HEADER);
    for object in objects {
        let holders: Vec<Option<&Holder>> =
            if object.holders.is_empty() { vec![None] } else { object.holders.iter().map(Some).collect() };
        for holder in holders {
            table.add_row(row(object, holder));
        }
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn row(object: &HeldObject, holder: Option<&Holder>) -> Vec<String> {
    let id = match object.kind.as_str() {
        "group" => format!("group {} ({})", object.id, object.members.join(" ")),
        _ => object.id.clone(),
    };
    let pod = holder.and_then(|holder| holder.pod.clone().or_else(|| holder.pod_uid.clone()));
    let container =
        holder.and_then(|holder| holder.container_id.as_deref()).map(|id| id.get(..12).unwrap_or(id).to_owned());
    let cells = [
        id,
        dash(object.resource.clone()),
        dash(object.owner.as_ref().map(owner)),
        dash(holder.map(|holder| holder.pid)),
        holder.map_or_else(|| "(no process shows it)".to_owned(), |holder| holder.command.clone()),
        dash(pod),
        dash(container),
        dash(holder.map(|holder| holder.relation.clone())),
        dash(holder.and_then(|holder| holder.since_ms).map(time)),
        dash(object.open_count),
    ];
    // A command may hold anything; a table has one line a holder.
    cells.iter().map(|cell| cell.replace(char::is_control, "·")).collect()
}

fn dash(cell: Option<impl ToString>) -> String {
    cell.map_or_else(|| "-".to_owned(), |cell| cell.to_string())
}

fn owner(owner: &Owner) -> String {
    let container = &owner.container;
    match (&owner.namespace, &owner.pod, &owner.pod_uid) {
        (Some(namespace), Some(pod), _) => format!("{namespace}/{pod} ({container})"),
        (_, _, Some(uid)) => format!("pod {uid} ({container})"),
        _ => container.clone(),
    }
}

/// A process with what is known of it, in one phrase.
pub(super) fn holder(holder: &Holder) -> String {
    let pod = holder.pod.as_ref().or(holder.pod_uid.as_ref()).map(|pod| format!(" of pod {pod}")).unwrap_or_default();
    format!("by process {} ({}){pod}, {}", holder.pid, holder.command.replace(char::is_control, "·"), holder.relation)
}

/// A time in UTC, to the second.
pub(super) fn time(ms: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}
