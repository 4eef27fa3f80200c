//! The programs that the task needs, and installing those that the machine lacks.

use super::Unavailable;
use super::apt::Apt;
use crate::process;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// A thing the task needs, and the Debian package that brings it.
pub struct Need {
    /// How a person calls it.
    pub name: &'static str,
    /// The package.
    pub package: &'static str,
    /// Whether it is there.
    pub present: fn() -> bool,
}

const NEEDS: [Need; 10] = [
    Need { name: QEMU, package: "qemu-system-x86", present: || process::find(QEMU).is_some() },
    Need { name: "busybox", package: "busybox-static", present: || process::find("busybox").is_some() },
    Need { name: "gcc", package: "gcc", present: || process::find("gcc").is_some() },
    Need { name: "the static C library", package: "libc6-dev", present: || compiles("#include <stdio.h>") },
    Need { name: "linux/vfio.h", package: "linux-libc-dev", present: || compiles("#include <linux/vfio.h>") },
    Need { name: "make", package: "make", present: || process::find("make").is_some() },
    Need { name: "xz", package: "xz-utils", present: || process::find("xz").is_some() },
    // objtool, which takes part in building a kernel module, is linked with it.
    Need { name: "libelf.so.1", package: "libelf1", present: || library("libelf.so.1") },
    Need { name: "unshare", package: "util-linux", present: || process::find("unshare").is_some() },
    Need { name: "setpriv", package: "util-linux", present: || process::find("setpriv").is_some() },
];

/// The machine that runs the guest.
pub const QEMU: &str = "qemu-system-x86_64";

/// Sees that every program is there: installs what is missing where the user is root and apt is there.
///
/// # Errors
///
/// [`Unavailable`], naming what is missing and how to get it.
pub fn ensure() -> Result<()> {
    all_present("vm", &NEEDS)
}

/// Sees that everything in `needs` is there, for the step `who`: installs what is missing where the user is root and apt
/// is there.
///
/// # Errors
///
/// [`Unavailable`], naming what is missing and how to get it.
pub fn all_present(who: &str, needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let names = missing.iter().map(|need| need.name).collect::<Vec<_>>().join(", ");
    let by_hand =
        format!("missing: {names}; get it with `apt-get install --no-install-recommends {}`", packages.join(" "));
    let Some(apt) = Apt::system().filter(|_| rustix::process::geteuid().is_root()) else {
        return Err(Unavailable(by_hand).into());
    };
    eprintln!("{who}: installing {}", packages.join(" "));
    if let Err(error) = apt.install(&packages) {
        return Err(Unavailable(format!("{by_hand} (tried, and {error:#})")).into());
    }
    match needs.iter().find(|need| !(need.present)()) {
        Some(need) => {
            Err(Unavailable(format!("{} is installed and {} is still missing", need.package, need.name)).into())
        }
        None => Ok(()),
    }
}

/// `bytes`, unless there are none.
pub fn not_empty(bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.is_empty() {
        bail!("nothing came out");
    }
    Ok(bytes)
}

/// Compiles the C program `source` into the static program `into`.
pub fn compile(source: &Path, into: &Path) -> Result<()> {
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-static", "-o"]).arg(into).arg(source);
    process::output(&mut gcc).map(drop)
}

fn compiles(line: &str) -> bool {
    let script = format!("printf '%s\\n' '{line}' 'int main(void) {{ return 0; }}' | gcc -xc -static -o /dev/null -");
    process::output(Command::new("sh").args(["-c", &script])).is_ok()
}

fn library(name: &str) -> bool {
    let Some(ldconfig) = process::find("ldconfig") else { return false };
    process::text(Command::new(ldconfig).arg("-p")).is_ok_and(|known| known.contains(name))
}
