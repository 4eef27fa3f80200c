//! A kernel with VFIO in itself instead of in modules: Debian's source, with a small configuration of our own.

use super::apt::Apt;
use super::archive::Archive;
use super::cache::Cache;
use super::debian;
use super::kernel::Kernel;
use super::tools::{self, Need};
use crate::{process, workspace};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What a whole kernel is built with beside what a module is.
const NEEDS: [Need; 6] = [
    Need { name: "flex", package: "flex", present: || process::find("flex").is_some() },
    Need { name: "bison", package: "bison", present: || process::find("bison").is_some() },
    Need { name: "bc", package: "bc", present: || process::find("bc").is_some() },
    // It makes the types (BTF) from the debug information.
    Need { name: "pahole", package: "dwarves", present: || process::find("pahole").is_some() },
    Need { name: "libelf.h", package: "libelf-dev", present: || Path::new("/usr/include/libelf.h").is_file() },
    // Lockdown brings a program along that signs modules, which is built whether it is used or not.
    Need {
        name: "openssl/evp.h",
        package: "libssl-dev",
        present: || Path::new("/usr/include/openssl/evp.h").is_file(),
    },
];
/// The file in the cache that keeps what the kernel there was configured with.
const CONFIG: &str = "config";

/// The kernel of version `version`: the cached one where it has the configuration of this checkout, or one that is built
/// now.
///
/// # Errors
///
/// [`super::Unavailable`] where a tool is missing and cannot be installed; what apt, make and the file system say.
pub fn find_or_build(cache: &Cache, archive: &Archive, version: &str, refresh: bool) -> Result<Kernel> {
    let place = format!("kernel-{version}-built-in");
    let wanted = workspace::root().join("tests/vm/built-in.config");
    let wanted = fs::read_to_string(&wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    let cached = cache.folder(&place);
    let origin = "built from Debian's source, VFIO built in";
    let same = fs::read_to_string(cached.join(CONFIG)).is_ok_and(|config| config == wanted);
    if !refresh
        && same
        && let Ok(kernel) = Kernel::unpacked(&cached, origin)
    {
        return Ok(kernel);
    }
    tools::all_present("vm", &NEEDS)?;
    eprintln!("vm: building a kernel {version} with VFIO in itself; that takes a quarter of an hour on two processors");
    let built = archive.ask(|apt| cache.create(&place, |folder| build(apt, version, &wanted, folder)));
    let built = built.with_context(|| format!("a kernel {version} with VFIO in itself cannot be built"))?;
    Kernel::unpacked(&built, origin)
}

fn build(apt: &Apt, version: &str, config: &str, folder: &Path) -> Result<()> {
    let scratch = folder.join("build");
    let source = scratch.join("source");
    debian::source(apt, version, &scratch)?.extract(&[], &source)?;
    fs::write(source.join("fragment"), config)?;
    let make = |arguments: &[&str]| {
        let mut command = Command::new("make");
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        command.current_dir(&source).arg("--silent").arg(format!("-j{processors}")).args(arguments);
        process::output(&mut command).with_context(|| format!("make {} in the kernel's source", arguments.join(" ")))
    };
    make(&["tinyconfig"])?;
    process::output(
        Command::new("scripts/kconfig/merge_config.sh").args(["-m", ".config", "fragment"]).current_dir(&source),
    )?;
    make(&["olddefconfig"])?;
    refuse_what_is_missing(config, &fs::read_to_string(source.join(".config"))?)?;
    make(&["bzImage", "modules"])?;
    make(&[
        &format!("INSTALL_MOD_PATH={}", folder.display()),
        "INSTALL_MOD_STRIP=--strip-debug",
        "DEPMOD=true",
        "modules_install",
    ])?;

    let release = fs::read_to_string(source.join("include/config/kernel.release"))?;
    let modules = folder.join("lib/modules").join(release.trim());
    for link in ["build", "source"] {
        drop(fs::remove_file(modules.join(link)));
    }
    fs::create_dir_all(folder.join("boot"))?;
    fs::rename(source.join("arch/x86/boot/bzImage"), folder.join(format!("boot/vmlinuz-{}", release.trim())))?;
    fs::write(folder.join(CONFIG), config)?;
    Ok(fs::remove_dir_all(&scratch)?)
}

/// kconfig drops in silence what it cannot give: the checks would fail later, and say nothing of the reason.
fn refuse_what_is_missing(wanted: &str, given: &str) -> Result<()> {
    let missing: Vec<&str> = wanted
        .lines()
        .filter(|line| line.ends_with("=y") || line.ends_with("=m"))
        .filter(|line| !given.lines().any(|given| given == *line))
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => anyhow::bail!("this kernel's configuration does not take {}", missing.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_a_kernel_does_not_take_is_named() {
        let wanted = "# all\nCONFIG_VFIO=y\nCONFIG_VT=n\nCONFIG_SAMPLE=m\n";
        refuse_what_is_missing(wanted, "CONFIG_VFIO=y\nCONFIG_SAMPLE=m\n").unwrap();
        let error = refuse_what_is_missing(wanted, "CONFIG_VFIO=m\nCONFIG_SAMPLE=m\n").unwrap_err();
        assert_eq!(error.to_string(), "this kernel's configuration does not take CONFIG_VFIO=y");
    }
}
