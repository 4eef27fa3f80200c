//! The browser in which the page is tested.

use crate::{
    process,
    vm::tools::{Need, all_present},
};
use anyhow::Result;

/// Sees that it is there, and installs it where that may be done.
///
/// # Errors
///
/// [`Unavailable`](crate::vm::Unavailable), naming what is missing and how to get it.
pub fn ensure() -> Result<()> {
    all_present(
        "tests",
        &[Need { name: "chromium", package: "chromium", present: || process::find("chromium").is_some() }],
    )
}
