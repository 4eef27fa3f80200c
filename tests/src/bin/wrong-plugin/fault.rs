//! The one way in which the plugin is wrong.

use std::str::FromStr;

/// Names the check that should notice; empty in a plugin without a fault.
#[derive(Debug, Clone, Default)]
pub struct Fault(String);

/// Every fault that the plugin has code for; some checks have several. Those that take longest to be noticed come first.
pub const ALL: &[&str] = &[
    "list.first",
    "pre-start.starts",
    "registration.endpoint:late",
    "health.down",
    "health.up",
    "storm.true-after",
    "slow.allocate",
    "slow.backlog",
    "storm.folded",
    "restart.stream-end",
    "restart.kubelet",
    "stop.ends",
    "registration.before-kubelet",
    "registration.version",
    "registration.name",
    "registration.endpoint",
    "registration.once",
    "options.served",
    "options.same",
    "list.ids",
    "list.ids:twice",
    "list.health",
    "list.numa",
    "list.numa:node-0",
    "list.numa:other",
    "list.size",
    "allocate.granted",
    "allocate.again",
    "allocate.per-container",
    "allocate.apart",
    "allocate.unknown-id",
    "allocate.unknown-status",
    "allocate.unknown-status:unnamed",
    "variables.name",
    "variables.prefix",
    "variables.values",
    "variables.joined",
    "variables.joined:semicolon",
    "variables.count",
    "variables.order",
    "variables.distinct",
    "devices.paths",
    "devices.unique",
    "devices.exist",
    "devices.permissions",
    "devices.group",
    "devices.one-way",
    "preferred.served",
    "preferred.required",
    "preferred.size",
    "preferred.offered",
    "health.snapshot",
    "health.stream",
    "restart.kubelet-twice",
    "restart.list",
    "restart.ids",
    "stop.not-by-itself",
    "stop.no-empty-list",
];

impl Fault {
    /// Whether this is the fault.
    pub fn is(&self, name: &str) -> bool {
        debug_assert!(ALL.contains(&name), "{name} is no fault");
        self.0 == name
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if ALL.contains(&text) { Ok(Self(text.to_owned())) } else { Err(format!("one of {}", ALL.join(", "))) }
    }
}
