//! The scenarios, in the order in which they run.

use super::Guest;
use anyhow::Result;

mod groups;
mod hotplug;
mod mdev;
mod vfio;

/// A scenario: makes checks, and fails itself only where it cannot be set up.
pub type Scenario = fn(&mut Guest) -> Result<()>;

/// Every scenario with its name.
pub const ALL: &[(&str, Scenario)] =
    &[("vfio", vfio::run), ("groups", groups::run), ("hotplug", hotplug::run), ("mdev", mdev::run)];

/// The container device, which every VFIO user opens first.
pub const CONTAINER: &str = "/dev/vfio/vfio";
