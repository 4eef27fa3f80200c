//! kubectl, which renders the manifests of `deploy/` and applies them.

use crate::{
    process,
    vm::tools::{Need, all_present},
};
use anyhow::Result;

/// The program.
pub const KUBECTL: &str = "kubectl";

/// What brings it on Debian. Newer ones from elsewhere are as good: the manifests are written for all from 1.20 on.
pub const NEED: Need =
    Need { name: KUBECTL, package: "kubernetes-client", present: || process::find(KUBECTL).is_some() };

/// Sees that it is there, and installs it where that may be done.
///
/// # Errors
///
/// [`Unavailable`](crate::vm::Unavailable), naming what is missing and how to get it.
pub fn ensure() -> Result<()> {
    all_present("manifests", &[NEED])
}
