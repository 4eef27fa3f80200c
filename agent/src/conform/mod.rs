//! Plays the kubelet against any device plugin, and says whether it keeps KubeVirt's and the kubelet's conventions.
//!
//! ```text
//! session ─┬─ stage ─┬─ process            the plugin: started, asked to end, killed
//!          │         └─ kubelet            registration socket, dialling back, streams
//!          ├─ inspect ─ checks/*           one file a group: rows of the table, and how they are checked
//!          └─ book ─ report                verdicts, as text, JSON or JUnit
//! ```
//!
//! It knows of the plugin only what the kubelet and virt-launcher know, and of the host what sysfs and /dev say.

mod address;
mod book;
mod check;
mod checks;
mod hooks;
mod host;
mod inspect;
mod kubelet;
mod process;
mod report;
mod session;
mod stage;
mod subject;

pub use book::{Finding, Outcome};
pub use check::{Check, GROUPS, Group, Needs, all, named};
pub use hooks::Hooks;
pub use report::{Counts, Format, Report, ResourceSeen};
pub use session::CannotCheck;

use std::{path::PathBuf, time::Duration};

/// What is checked.
#[derive(Debug, Clone)]
pub enum Target {
    /// A plugin that runs already, on its socket.
    Socket(PathBuf),
    /// A plugin that is started for the check.
    Command {
        /// For `sh -c`.
        command: String,
        /// The folder in which it finds the kubelet; a private one unless given.
        plugin_dir: Option<PathBuf>,
    },
}

/// How it is checked.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is checked.
    pub target: Target,
    /// Only this resource, or the name of the one behind the socket.
    pub resource: Option<String>,
    /// Where the host's /sys and /dev are found.
    pub host_root: PathBuf,
    /// How to break a device, and how to mend it.
    pub hooks: Option<Hooks>,
    /// What is not checked.
    pub skip: Vec<&'static Check>,
    /// How long anything that the plugin should do may take.
    pub patience: Duration,
}

/// Checks a plugin, on a tokio runtime.
///
/// # Errors
/// When there is nothing to check.
pub async fn run(options: &Options) -> Result<Report, CannotCheck> {
    session::run(options).await
}
