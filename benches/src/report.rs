//! The figures with their bounds, and the table.

use crate::sample::median;
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, fmt::Write as _};

/// A figure of the table.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// The key under which it is measured.
    pub key: &'static str,
    /// What it is.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// What must hold.
    pub bound: Bound,
}

/// What must hold of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// At most so many times the floor's.
    Times(f64),
    /// At least so many times the floor's.
    AtLeastTimes(f64),
    /// At most this.
    AtMost(f64),
    /// Reported only.
    None,
}

const fn figure(key: &'static str, name: &'static str, unit: &'static str, bound: Bound) -> Figure {
    Figure { key, name, unit, bound }
}

/// The figures of one size of the node.
const OF_A_SIZE: &[Figure] = &[
    figure("start", "first start on a host to first full list", "ms", Bound::Times(4.0)),
    figure("start-again", "started again to first full list", "ms", Bound::Times(4.0)),
    figure("allocate-1", "Allocate 1 device, p50", "us", Bound::Times(1.25)),
    figure("allocate-1-tail", "Allocate 1 device, p99.9", "us", Bound::None),
    figure("allocate-8", "Allocate 8 devices, p50", "us", Bound::Times(1.25)),
    figure("allocate-8-tail", "Allocate 8 devices, p99.9", "us", Bound::None),
    figure("crowd", "Allocate, 64 callers at once", "k/s", Bound::AtLeastTimes(0.9)),
    figure("preferred", "GetPreferredAllocation, all offered, 8 asked", "us", Bound::Times(2.0)),
    figure("gone", "device node removed to Unhealthy, p50", "us", Bound::Times(1.3)),
    figure("gone-tail", "device node removed to Unhealthy, p99", "us", Bound::None),
    figure("back", "device node back to Healthy, p50", "us", Bound::None),
    figure("burst", "all nodes removed: all Unhealthy", "ms", Bound::Times(1.5)),
    figure("burst-messages", "  messages for that", "", Bound::AtMost(16.0)),
    figure("burst-bytes", "  bytes for that", "KiB", Bound::None),
    figure("resident-unused", "resident memory after the start", "MiB", Bound::None),
    figure("resident", "resident memory after load", "MiB", Bound::None),
];

/// The figures that only vfiod has.
const ALONE: &[Figure] = &[
    figure("growth", "start: growth of the time per growth of devices", "", Bound::AtMost(1.25)),
    figure("resident-16k", "resident memory, 16,384 devices after load", "MiB", Bound::AtMost(16.0)),
    figure("restart-64", "registered again after a kubelet restart, 64 resources", "ms", Bound::AtMost(20.0)),
    figure("quiet-p99", "Allocate p99 while nothing else happens", "us", Bound::None),
    figure("storm-p99", "Allocate p99 while another resource's nodes storm", "us", Bound::None),
    figure("storm-rate", "  nodes removed or made a second", "k/s", Bound::None),
    figure("idle-wakes", "doing nothing: how often it is woken in 10 s", "", Bound::AtMost(1.0)),
    figure("idle-ticks", "doing nothing: ticks of processor time", "", Bound::AtMost(0.0)),
    figure("rescan-kept", "rescan of 16,384 unchanged devices: memory kept", "MiB", Bound::AtMost(0.25)),
    figure("churn-kept", "work without end: memory kept since its second quarter", "MiB", Bound::AtMost(1.0)),
    figure("churn-rounds", "  rounds of it", "", Bound::None),
    figure("rescan-messages", "rescan of 16,384 unchanged devices: messages", "", Bound::AtMost(0.0)),
];

/// Which bounds hold only at one size: `None` where the figure has no bound there.
fn bound_at(figure: Figure, devices: usize) -> Bound {
    match (figure.key, devices) {
        // A node of 16,384 devices takes its time to lose them all, and a kubelet offers what fits its own limits.
        ("start" | "start-again" | "preferred" | "burst" | "burst-messages", 16_384..) => Bound::None,
        _ => figure.bound,
    }
}

/// The blocks of all contestants: by size of the node, name, and key.
#[derive(Debug, Default)]
pub struct Blocks(BTreeMap<(usize, String, &'static str), Vec<f64>>);

/// Size of the figures that have none.
const NO_SIZE: usize = 0;

impl Blocks {
    /// Adds a value of one block.
    pub fn add(&mut self, devices: usize, contestant: &str, key: &'static str, value: f64) {
        self.0.entry((devices, contestant.to_owned(), key)).or_default().push(value);
    }

    /// Adds a value of a figure that belongs to no size.
    pub fn add_alone(&mut self, contestant: &str, key: &'static str, value: f64) {
        self.add(NO_SIZE, contestant, key, value);
    }

    /// The median over the blocks.
    #[must_use]
    pub fn median(&self, devices: usize, contestant: &str, key: &'static str) -> Option<f64> {
        Some(median(self.0.get(&(devices, contestant.to_owned(), key))?))
    }

    fn values(&self, devices: usize, contestant: &str, key: &'static str) -> &[f64] {
        self.0.get(&(devices, contestant.to_owned(), key)).map_or(&[], Vec::as_slice)
    }
}

/// One row of the table.
#[derive(Debug)]
struct Row {
    figure: Figure,
    bound: Bound,
    devices: usize,
    /// vfiod's, the floor's, the floor's beside itself, and the others'.
    vfiod: f64,
    floor: Option<f64>,
    twin: Option<f64>,
    others: Vec<Option<f64>>,
    blocks: Vec<f64>,
}

impl Row {
    /// Floor against floor: how far two equal servers are apart, as a factor of at least 1.
    fn spread(&self) -> Option<f64> {
        let (floor, twin) = (self.floor?, self.twin?);
        (floor > 0.0 && twin > 0.0).then(|| (floor / twin).max(twin / floor))
    }

    fn base(&self) -> Option<f64> {
        match (self.floor, self.twin) {
            (Some(floor), Some(twin)) => Some(f64::midpoint(floor, twin)),
            (floor, _) => floor,
        }
    }

    fn ratio(&self) -> Option<f64> {
        self.base().filter(|base| *base > 0.0).map(|base| self.vfiod / base)
    }

    fn holds(&self) -> Option<bool> {
        let spread = self.spread().unwrap_or(1.0);
        match self.bound {
            Bound::Times(times) => Some(self.ratio()? <= times * spread),
            Bound::AtLeastTimes(times) => Some(self.ratio()? * spread >= times),
            Bound::AtMost(most) => Some(self.vfiod <= most),
            Bound::None => None,
        }
    }
}

/// The rows of a run, in order.
#[derive(Debug)]
pub struct Report {
    rows: Vec<Row>,
    others: Vec<String>,
}

impl Report {
    /// Reads the blocks of a run. The first two names are the floor's.
    #[must_use]
    pub fn of(blocks: &Blocks, sizes: &[usize], floors: [&str; 2], others: &[String]) -> Self {
        let row = |figure: Figure, devices, bound| {
            let [floor, twin] = floors.map(|name| blocks.median(devices, name, figure.key));
            let others = others.iter().map(|name| blocks.median(devices, name, figure.key)).collect();
            let values = blocks.values(devices, "vfiod", figure.key).to_vec();
            let vfiod = blocks.median(devices, "vfiod", figure.key)?;
            Some(Row { figure, bound, devices, vfiod, floor, twin, others, blocks: values })
        };
        let of_sizes = sizes
            .iter()
            .flat_map(|&size| OF_A_SIZE.iter().filter_map(move |&figure| row(figure, size, bound_at(figure, size))));
        let alone = ALONE.iter().filter_map(|&figure| row(figure, NO_SIZE, figure.bound));
        Self { rows: of_sizes.chain(alone).collect(), others: others.to_vec() }
    }

    /// How many bounds are missed.
    #[must_use]
    pub fn missed(&self) -> usize {
        self.rows.iter().filter(|row| row.holds() == Some(false)).count()
    }

    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut head =
            format!("{:<56} {:>10} {:>10} {:>7} {:>7} {:>9}  ", "figure", "vfiod", "floor", "ratio", "f/f", "bound");
        self.others
            .iter()
            .for_each(|name| head.push_str(&format!("{:>12}", name.chars().take(11).collect::<String>())));
        let mut section = usize::MAX;
        for row in &self.rows {
            if row.devices != section {
                section = row.devices;
                let title = match section {
                    NO_SIZE => "vfiod alone".to_owned(),
                    devices => format!("{devices} devices of one resource"),
                };
                let _ = write!(text, "\n{title}\n{head}\n");
            }
            let bound = match row.bound {
                Bound::Times(times) => format!("<={times}x"),
                Bound::AtLeastTimes(times) => format!(">={times}x"),
                Bound::AtMost(most) => format!("<={most}"),
                Bound::None => String::new(),
            };
            let verdict = match row.holds() {
                Some(true) => "pass",
                Some(false) => "FAIL",
                None => "",
            };
            let name = match row.figure.unit {
                "" => row.figure.name.to_owned(),
                unit => format!("{} ({unit})", row.figure.name),
            };
            let line = format!(
                "{name:<56} {:>10} {:>10} {:>7} {:>7} {bound:>9}  {verdict}",
                number(Some(row.vfiod)),
                number(row.base()),
                number(row.ratio()),
                number(row.spread()),
            );
            text.push_str(&line);
            row.others.iter().for_each(|other| text.push_str(&format!("{:>12}", number(*other))));
            text.push('\n');
        }
        text
    }

    /// The same for programs.
    #[must_use]
    pub fn json(&self) -> Json {
        let row = |row: &Row| {
            let bound = match row.bound {
                Bound::Times(times) => json!({ "atMostTimesFloor": times }),
                Bound::AtLeastTimes(times) => json!({ "atLeastTimesFloor": times }),
                Bound::AtMost(most) => json!({ "atMost": most }),
                Bound::None => Json::Null,
            };
            let others: serde_json::Map<String, Json> =
                self.others.iter().cloned().zip(row.others.iter().map(|other| json!(other))).collect();
            json!({
                "figure": row.figure.key, "name": row.figure.name.trim(), "unit": row.figure.unit,
                "devices": (row.devices != NO_SIZE).then_some(row.devices),
                "vfiod": row.vfiod, "vfiodBlocks": row.blocks, "floor": row.floor, "floorTwin": row.twin,
                "ratio": row.ratio(), "floorAgainstFloor": row.spread(), "bound": bound, "holds": row.holds(),
                "others": others,
            })
        };
        json!({ "figures": self.rows.iter().map(row).collect::<Vec<_>>(), "missed": self.missed() })
    }
}

/// Three digits or more.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 100.0 || value == 0.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(vfiod: f64, floor: f64, twin: f64, key: &'static str) -> Report {
        let mut blocks = Blocks::default();
        for (name, value) in [("vfiod", vfiod), ("a", floor), ("b", twin)] {
            blocks.add(4096, name, key, value);
        }
        Report::of(&blocks, &[4096], ["a", "b"], &[])
    }

    #[test]
    fn a_bound_is_missed_only_by_more_than_equal_servers_differ() {
        assert_eq!(blocks(25.0, 20.0, 20.0, "allocate-1").missed(), 0);
        assert_eq!(blocks(25.3, 20.0, 20.0, "allocate-1").missed(), 1);
        assert_eq!(blocks(26.0, 20.0, 21.0, "allocate-1").missed(), 0);
        assert_eq!(blocks(89.0, 100.0, 100.0, "crowd").missed(), 1);
        assert_eq!(blocks(91.0, 100.0, 100.0, "crowd").missed(), 0);
    }

    #[test]
    fn the_table_and_the_json_say_the_same() {
        let report = blocks(50.0, 20.0, 20.0, "allocate-1");
        assert!(report.table().contains("FAIL") && report.table().contains("2.50"), "{}", report.table());
        let json = report.json();
        assert_eq!(json["missed"], 1);
        assert_eq!(json["figures"][0]["ratio"], 2.5);
        assert_eq!(json["figures"][0]["holds"], false);
    }
}
