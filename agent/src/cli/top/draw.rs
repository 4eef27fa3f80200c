//! One frame.

use super::{
    keys::KEYS,
    view::{Column, Front, Kind, Origin, View},
};
use crate::cli::known::{owned, stranger};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span, Text},
    widgets::{Block, BorderType, Cell, Clear, Paragraph, Row as Cells, Table, Wrap},
};
use std::time::Duration;
use vfiod_proto::status::{ResourceState, Row};

const GOOD: Color = Color::Green;
const BAD: Color = Color::Red;
const WARN: Color = Color::Yellow;
const OWN: Color = Color::Blue;
const FAINT: Style = Style::new().fg(Color::DarkGray);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);

/// The most lines for resources; with more of them, those with the most trouble are shown.
const RESOURCES: usize = 6;
/// From this width on health and its reason have a column each; below it the reason stands for both.
const BOTH: u16 = 100;
/// Below this height only the list is shown.
const LOW: u16 = 12;

/// Draws everything.
pub(super) fn draw(view: &mut View, frame: &mut Frame<'_>) {
    let area = frame.area();
    let warnings = warnings(view);
    let resources = view.known.summary.as_ref().map_or(0, |summary| summary.resources.len()).min(RESOURCES);
    let (warned, listed) = if area.height < LOW { (0, 0) } else { (warnings.len().min(2), resources) };
    let lines = |count: usize| Constraint::Length(u16::try_from(count).unwrap_or(u16::MAX));
    let [top, notes, state, list, foot] = Layout::vertical([
        Constraint::Length(1),
        lines(warned),
        lines(listed),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(headline(view, area.width)), top);
    frame.render_widget(Paragraph::new(warnings.into_iter().take(warned).collect::<Vec<_>>()), notes);
    frame.render_widget(Paragraph::new(resource_lines(view, listed, area.width)), state);
    devices(view, frame, list);
    frame.render_widget(Paragraph::new(footer(view)), foot);
    match view.front {
        Front::Detail => detail(view, frame, list),
        Front::Help => help(frame, area),
        Front::Nothing | Front::Filter => {}
    }
}

fn headline(view: &View, width: u16) -> Line<'static> {
    let mut spans = vec![Span::styled("vfiod ", STRONG)];
    let state = |text: &'static str, color| Span::styled(format!(" {text} "), Style::new().fg(Color::Black).bg(color));
    let summary = view.known.summary.clone().unwrap_or_default();
    match &view.origin {
        Origin::Nowhere => spans.push(state("connecting", WARN)),
        Origin::Host(_) => spans.push(state("no daemon: the host itself", WARN)),
        Origin::Lost(_) => spans.push(state("no answer", BAD)),
        Origin::Daemon if summary.ready => spans.push(state("ready", GOOD)),
        Origin::Daemon => spans.push(state("not ready", BAD)),
    }
    let sum = |of: fn(&ResourceState) -> u32| summary.resources.iter().map(of).sum::<u32>();
    let count = view.known.rows.len();
    let strangers = view.known.rows.values().filter(|row| stranger(row)).count();
    spans.push(Span::raw(format!(
        " {count} devices, {} unhealthy, {} owned",
        sum(|r| r.devices - r.healthy.min(r.devices)),
        sum(|r| r.owned)
    )));
    if strangers > 0 {
        spans.push(Span::styled(format!(", {strangers} held by strangers"), Style::new().fg(BAD)));
    }
    if matches!(view.origin, Origin::Daemon) && width >= 100 {
        let totals = summary.totals.unwrap_or_default();
        let rates = view.known.rates.unwrap_or_default();
        let time = |nanos: Option<u64>| nanos.map_or_else(|| "-".to_owned(), duration);
        spans.push(Span::styled(
            format!(
                "  alloc/s {} events/s {}  p99 alloc {} told {}",
                rate(rates.allocations),
                rate(rates.events),
                time(totals.allocate_p99_ns),
                time(totals.event_p99_ns)
            ),
            FAINT,
        ));
    } else if let (Origin::Daemon, Some(rates)) = (&view.origin, view.known.rates) {
        spans.push(Span::styled(format!("  a/s {} e/s {}", rate(rates.allocations), rate(rates.events)), FAINT));
    }
    Line::from(spans)
}

fn rate(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn duration(nanos: u64) -> String {
    humantime::format_duration(Duration::from_nanos(nanos)).to_string().replace(' ', "")
}

/// What is not as it should be, the gravest first.
fn warnings(view: &View) -> Vec<Line<'static>> {
    let line = |color, name: &str, text: &str| {
        let text = text.replace(char::is_control, " ");
        Line::from(vec![Span::styled(format!("{name}: "), STRONG.fg(color)), Span::raw(text)])
    };
    match &view.origin {
        Origin::Lost(reason) => {
            vec![line(BAD, "what you see may be old", &format!("vfiod answers no more ({reason}); trying again"))]
        }
        Origin::Host(notes) => notes.iter().map(|note| line(WARN, "note", note)).collect(),
        Origin::Nowhere => Vec::new(),
        Origin::Daemon => {
            let parts = view.known.summary.iter().flat_map(|summary| &summary.parts);
            let mut parts: Vec<_> = parts.filter(|part| part.condition != "good").collect();
            parts.sort_by_key(|part| part.condition == "degraded");
            let color = |condition: &str| if condition == "degraded" { WARN } else { BAD };
            parts
                .iter()
                .map(|part| line(color(&part.condition), &format!("{} {}", part.part, part.condition), &part.text))
                .collect()
        }
    }
}

/// A line for each resource: a bar of what is free, owned and unhealthy.
fn resource_lines(view: &View, count: usize, width: u16) -> Vec<Line<'static>> {
    let Some(summary) = &view.known.summary else { return Vec::new() };
    let mut resources: Vec<&ResourceState> = summary.resources.iter().collect();
    if resources.len() > count {
        let trouble =
            |one: &ResourceState| (one.registered, std::cmp::Reverse(one.devices - one.healthy.min(one.devices)));
        resources.sort_by_key(|one| trouble(one));
    }
    let bar_width = usize::from(width / 5).clamp(6, 30);
    let serves = matches!(view.origin, Origin::Daemon);
    let longest =
        resources.iter().map(|one| one.name.chars().count()).max().unwrap_or(0).min(usize::from(width * 2 / 5));
    resources.into_iter().take(count).map(|one| resource_line(one, longest, bar_width, serves)).collect()
}

fn resource_line(one: &ResourceState, name_width: usize, bar_width: usize, serves: bool) -> Line<'static> {
    let ill = one.devices.saturating_sub(one.healthy);
    let free = one.healthy.saturating_sub(one.owned);
    let all = one.devices.max(1) as usize;
    let part = |count: u32| (count as usize * bar_width).div_ceil(all).min(bar_width);
    let ill_cells = part(ill);
    let owned_cells = part(one.devices - ill - free.min(one.devices - ill)).min(bar_width - ill_cells);
    let free_cells = if one.devices == 0 { 0 } else { bar_width - ill_cells - owned_cells };
    let name: String = one.name.chars().take(name_width).collect();
    let mut spans = vec![Span::raw(format!("{name:name_width$} "))];
    for (cells, color) in [(free_cells, GOOD), (owned_cells, OWN), (ill_cells, BAD)] {
        spans.push(Span::styled("█".repeat(cells), Style::new().fg(color)));
    }
    if one.devices == 0 {
        spans.push(Span::styled("░".repeat(bar_width), FAINT));
    }
    spans.push(Span::raw(format!(" {free} free")));
    spans.push(Span::styled(format!(" {} owned", one.owned), Style::new().fg(OWN)));
    if ill > 0 {
        spans.push(Span::styled(format!(" {ill} unhealthy"), Style::new().fg(BAD)));
    }
    spans.push(Span::styled(format!(" of {}", one.devices), FAINT));
    if serves && !one.registered {
        spans.push(Span::styled(" not registered", Style::new().fg(BAD)));
    }
    Line::from(spans)
}

/// The columns that fit, with their widths; the last one gets what is left.
fn columns(width: u16, wide_ids: bool) -> Vec<(Option<Column>, Constraint)> {
    let device = if wide_ids && width >= 150 { 36 } else { 13 };
    let mut columns = vec![(Some(Column::Device), Constraint::Length(device))];
    let mut more = |from: u16, column: Option<Column>, size: Constraint| {
        if width >= from {
            columns.push((column, size));
        }
    };
    more(70, Some(Column::Resource), Constraint::Fill(4));
    more(28, Some(Column::Health), Constraint::Length(if width < BOTH { 14 } else { 9 }));
    more(BOTH, Some(Column::Reason), Constraint::Length(14));
    more(45, Some(Column::Owner), Constraint::Fill(3));
    more(36, Some(Column::Holder), Constraint::Fill(5));
    more(130, None, Constraint::Fill(8));
    columns
}

fn devices(view: &mut View, frame: &mut Frame<'_>, area: Rect) {
    view.scroll(usize::from(area.height.saturating_sub(1)));
    let (first, page, place) = (view.first, view.page, view.place());
    let wide_ids = view.known.rows.keys().any(|(_, device)| device.len() > 13);
    let columns = columns(area.width, wide_ids);
    let head = columns.iter().map(|(column, _)| match column {
        Some(column) if *column == view.column => format!("{}{}", column.name(), if view.down { "▼" } else { "▲" }),
        Some(column) => column.name().to_owned(),
        None => "WHY".to_owned(),
    });
    let head = Cells::new(head.collect::<Vec<_>>()).style(STRONG.add_modifier(Modifier::REVERSED));
    let keys: Vec<_> = view.order().iter().skip(first).take(page).cloned().collect();
    if keys.is_empty() {
        let text = match (view.known.complete, view.known.rows.is_empty()) {
            (false, _) => "waiting …",
            (true, true) => "No device is listed.",
            (true, false) => "No device matches; Esc shows all.",
        };
        let [head_area, rest] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        let widths = columns.iter().map(|(_, width)| *width);
        frame.render_widget(Table::new([] as [Cells<'_>; 0], widths).header(head), head_area);
        frame.render_widget(Paragraph::new(text).style(FAINT), rest);
        return;
    }
    let rows = keys.iter().enumerate().filter_map(|(at, key)| {
        let row = view.known.rows.get(key)?;
        let cells = columns.iter().map(|(column, _)| cell(row, *column, area.width));
        let made = Cells::new(cells.collect::<Vec<_>>());
        Some(if first + at == place { made.style(Style::new().add_modifier(Modifier::REVERSED)) } else { made })
    });
    let rows: Vec<Cells<'_>> = rows.collect();
    let table = Table::new(rows, columns.iter().map(|(_, width)| *width)).header(head).column_spacing(1);
    frame.render_widget(table, area);
}

fn cell(row: &Row, column: Option<Column>, width: u16) -> Cell<'static> {
    let Some(column) = column else { return Cell::new(clean(&row.message)).style(FAINT) };
    let told = if column == Column::Health && width < BOTH { Column::Reason } else { column };
    let text = clean(&told.of(row));
    let style = match column {
        Column::Health if row.health != "Healthy" => Style::new().fg(BAD),
        Column::Health if owned(row) => Style::new().fg(OWN),
        Column::Health => Style::new().fg(GOOD),
        Column::Holder if stranger(row) => Style::new().fg(BAD),
        _ => Style::new(),
    };
    Cell::new(if text.is_empty() { "-".to_owned() } else { text }).style(style)
}

/// A name from the host may hold anything.
fn clean(text: &str) -> String {
    text.replace(char::is_control, "·")
}

fn footer(view: &mut View) -> Line<'static> {
    if view.front == Front::Filter {
        return Line::from(vec![
            Span::styled("/", STRONG),
            Span::raw(view.filter.clone()),
            Span::styled("█", Style::new()),
            Span::styled("  Enter keeps, Esc clears", FAINT),
        ]);
    }
    let (shown, all) = (view.order().len(), view.known.rows.len());
    let mut spans = Vec::new();
    if !view.filter.is_empty() || view.kind != Kind::All {
        let kind = if view.kind == Kind::All { String::new() } else { format!("{} ", view.kind.name()) };
        let filter = if view.filter.is_empty() { String::new() } else { format!("/{} ", view.filter) };
        spans.push(Span::styled(format!("{kind}{filter}"), STRONG.fg(WARN)));
    }
    spans.push(Span::raw(if shown == all { format!("{all} devices  ") } else { format!("{shown} of {all}  ") }));
    spans.push(Span::styled("/ filter  s sort  r turn  f which  Enter detail  ? keys  q quit", FAINT));
    Line::from(spans)
}

fn detail(view: &mut View, frame: &mut Frame<'_>, list: Rect) {
    let Some(row) = view.row() else { return };
    // The list stays in sight above it, where there is room for both.
    let area = if list.height > 16 {
        let [_, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(list.height / 2)]).areas(list);
        below
    } else {
        list
    };
    let mut lines = Vec::new();
    let mut say = |name: &str, text: String| {
        if !text.is_empty() {
            lines.push(Line::from(vec![Span::styled(format!("{name:<10}"), FAINT), Span::raw(clean(&text))]));
        }
    };
    let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    say("resource", Column::Resource.of(&row));
    say("health", format!("{} ({}): {}", row.health, row.reason, row.message));
    say("next step", row.next_step.clone().unwrap_or_default());
    let container = row.owner.as_ref().map(|owner| format!(", container {}", owner.container)).unwrap_or_default();
    let owner = Column::Owner.of(&row);
    say("owner", if owner.is_empty() { "nobody".to_owned() } else { owner + &container });
    for holder in &row.holders {
        let what = match holder.relation.as_str() {
            "own" => "of the pod that owns it",
            "foreign" => "a stranger: not of the pod that owns it",
            _ => "whether of the owner is not known",
        };
        let pod = holder.pod.as_deref().or(holder.pod_uid.as_deref());
        let pod = pod.map_or_else(|| "no pod".to_owned(), |pod| format!("pod {pod}"));
        let group = if row.through_group { ", through the group" } else { "" };
        say("holder", format!("process {} ({}), {pod}: {what}{group}", holder.pid, holder.command));
    }
    if row.holders.is_empty() {
        say("holder", Column::Holder.of(&row));
    }
    say("open files", number(row.open_count));
    say("group", number(row.iommu_group));
    say("NUMA node", number(row.numa_node));
    say("more", format!("vfiod explain {}", row.device));
    let block = Block::bordered().border_type(BorderType::Rounded).title(format!(" {} ", row.device));
    let text = Paragraph::new(Text::from(lines)).wrap(Wrap { trim: false }).scroll((view.scrolled, 0)).block(block);
    frame.render_widget(Clear, area);
    frame.render_widget(text, area);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<Line<'_>> = KEYS
        .iter()
        .map(|(key, what)| Line::from(vec![Span::styled(format!("{key:<9}"), STRONG), Span::raw(*what)]))
        .collect();
    let width = area.width.min(78);
    let height = area.height.min(u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2));
    let at = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    let block = Block::bordered().border_type(BorderType::Rounded).title(" keys ");
    frame.render_widget(Clear, at);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), at);
}
