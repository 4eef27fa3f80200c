//! libvirt's schema of domains, with which the tests compare what `vfiod hostdev` writes.

use crate::{
    process,
    vm::tools::{Need, all_present},
};
use anyhow::Result;

const NEEDS: [Need; 2] = [
    Need {
        name: "virt-xml-validate",
        package: "libvirt-clients",
        present: || process::find("virt-xml-validate").is_some(),
    },
    // virt-xml-validate is a script around it, and its package does not ask for it.
    Need { name: "xmllint", package: "libxml2-utils", present: || process::find("xmllint").is_some() },
];

/// Sees that the validator is there, and installs it where that may be done.
///
/// # Errors
///
/// [`Unavailable`](crate::vm::Unavailable), naming what is missing and how to get it.
pub fn ensure() -> Result<()> {
    all_present("tests", &NEEDS)
}
