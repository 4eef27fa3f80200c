//! The scenarios, in the order in which they run.

use super::Guest;
use anyhow::Result;

mod capabilities;
mod errors;
mod groups;
mod holders;
mod hotplug;
mod latency;
mod lockdown;
mod mdev;
mod pins;
mod probe;
mod reload;
mod remembered;
mod serving;
mod soak;
mod storm;
mod vfio;

/// A scenario: makes checks, and fails itself only where it cannot be set up.
pub type Scenario = fn(&mut Guest) -> Result<()>;

/// Every scenario with its name.
const ALL: &[(&str, Scenario)] = &[
    ("vfio", vfio::run),
    ("groups", groups::run),
    ("hotplug", hotplug::run),
    ("mdev", mdev::run),
    ("remembered", remembered::run),
    ("probe", probe::run),
    ("storm", storm::run),
    ("holders", holders::run),
    ("errors", errors::run),
    ("reload", reload::run),
    ("pins", pins::run),
    ("serving-uring", serving::with_uring),
    ("serving-plain", serving::without),
    ("capabilities", capabilities::run),
    ("latency", latency::run),
    ("lockdown", lockdown::run),
];

/// One that takes as long as is asked for, and runs only where it is named.
const LONG: (&str, Scenario) = ("soak", soak::run);

/// The name of every scenario.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().chain([&LONG]).map(|(name, _)| *name)
}

/// The scenarios whose name contains `only`, or one of the texts in it that commas part, behind the first one, which binds the devices for all others.
pub fn chosen(only: &str) -> Vec<(&'static str, Scenario)> {
    let (first, rest) = ALL.split_at(1);
    let named = rest.iter().filter(|(name, _)| only.split(',').any(|text| name.contains(text)));
    let long = only.split(',').any(|text| text == LONG.0).then_some(&LONG);
    first.iter().chain(named).chain(long).copied().collect()
}
