//! Debian's kernel packages, through the machine's own apt.

use super::apt::Apt;
use super::archive::Archive;
use super::cache::Cache;
use super::choice::Series;
use super::kernel::Kernel;
use super::{Unavailable, tools};
use crate::process;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package that depends on a release's current kernel.
const META: &str = "linux-image-amd64";
/// The file in the cache that names the version of a kernel's package.
const VERSION: &str = "package-version";

/// The kernel of `series`: the cached one, or fetched now.
pub fn kernel(cache: &Cache, archive: &Archive, series: Series, refresh: bool) -> Result<Kernel> {
    let Series { version: name, suite, .. } = series;
    let place = format!("kernel-{name}");
    let cached = |root: &Path| {
        let version = fs::read_to_string(root.join(VERSION)).context("a kernel without its package's version")?;
        Kernel::unpacked(root, &format!("Debian's {} of {suite}", version.trim()))
    };
    if !refresh && let Ok(kernel) = cached(&cache.folder(&place)) {
        return Ok(kernel);
    }
    if !cfg!(target_arch = "x86_64") {
        return Err(Unavailable("the checks in the VM need an x86_64 machine".into()).into());
    }
    eprintln!("vm: fetching the kernel that {META} of {suite} stands for");
    let root = archive.ask(|apt| cache.create(&place, |root| fetch(apt, root)));
    let root = root.map_err(|error| {
        Unavailable(format!(
            "no kernel {name} to boot: {error:#}\n  give one with `--kernel FILE --modules DIR`, or run where apt knows {META} of {suite}"
        ))
    })?;
    cached(&root)
}

fn fetch(apt: &Apt, root: &Path) -> Result<()> {
    let meta = apt.show(META).with_context(|| format!("apt knows no package {META}"))?;
    let image = meta.depends.iter().find(|name| name.starts_with("linux-image-"));
    let image = image.with_context(|| format!("{META} {} depends on no kernel image", meta.version))?;
    let package = apt.show(image).with_context(|| format!("apt knows no package {image}"))?;
    // Newer Debian kernels keep the image and the modules in packages of their own, which the image's depends on.
    let parts = package.depends.iter().filter(|name| {
        ["linux-binary-", "linux-modules-", "linux-image-"].iter().any(|prefix| name.starts_with(prefix))
    });
    let mut wanted = vec![format!("{image}={}", package.version)];
    wanted.extend(parts.cloned());
    apt.unpack(&wanted, root)?;
    Ok(fs::write(root.join(VERSION), package.version)?)
}

/// The version of gcc that kernel `release` was built with, such as `12`: what its headers depend on.
pub fn compiler(apt: &Apt, release: &str) -> Result<String> {
    let name = format!("linux-headers-{release}");
    let headers = apt.show(&name).with_context(|| format!("apt knows no package {name}"))?;
    let mut versions = headers.depends.iter().filter_map(|package| gcc(package));
    versions.next().map(str::to_owned).with_context(|| format!("{name} depends on no gcc"))
}

/// From `gcc-14`, `gcc-16-for-host` or `linux-compiler-gcc-12-x86`.
fn gcc(package: &str) -> Option<&str> {
    let (_, version) = package.split_once("gcc-")?;
    let version = version.split('-').next()?;
    version.parse::<u32>().is_ok().then_some(version)
}

/// Unpacks into `root` what modules for kernel `release` are built with beside a compiler, and gives the folder to run
/// make in.
pub fn headers(apt: &Apt, release: &str, root: &Path) -> Result<PathBuf> {
    let name = format!("linux-headers-{release}");
    let package = apt.show(&name).with_context(|| format!("apt knows no package {name}"))?;
    let parts = package.depends.iter();
    let parts = parts.filter(|name| name.starts_with("linux-headers-") || name.starts_with("linux-kbuild-"));
    let mut wanted = vec![name.clone()];
    wanted.extend(parts.cloned());
    apt.unpack(&wanted, root)?;

    // The makefile includes the common one by its place in a system; here it lies elsewhere.
    let folder = root.join("usr/src").join(&name);
    let makefile = folder.join("Makefile");
    let text = fs::read_to_string(&makefile).with_context(|| format!("{name} holds no {}", makefile.display()))?;
    fs::write(&makefile, text.replace("/usr/src/", &format!("{}/usr/src/", root.display())))?;
    Ok(folder)
}

/// The kernel's own source for `release`, as Debian packages it.
pub struct Source {
    package: String,
    archive: PathBuf,
}

/// Unpacks the package of the kernel's source for `release` into `root`.
pub fn source(apt: &Apt, release: &str, root: &Path) -> Result<Source> {
    let series = series(release).with_context(|| format!("`{release}` does not begin with a kernel version"))?;
    let package = format!("linux-source-{series}");
    let headers = apt.show(&format!("linux-headers-{release}")).map(|headers| headers.version);
    // The image, the headers and the source come from one build, under one version.
    apt.unpack(&[headers.map_or_else(|| package.clone(), |version| format!("{package}={version}"))], root)?;
    let archive = root.join(format!("usr/src/{package}.tar.xz"));
    if !archive.is_file() {
        bail!("{package} holds no {}", archive.display());
    }
    Ok(Source { package, archive })
}

impl Source {
    /// Reads the file `member`.
    pub fn read(&self, member: &str) -> Result<Vec<u8>> {
        // tar stops at the first match, so xz ends early by design: only what came out counts.
        let script = r#"xz -dc -T0 "$1" 2>/dev/null | tar -xO --occurrence=1 "$2""#;
        let package = &self.package;
        let member = format!("{package}/{member}");
        let text = process::output(Command::new("sh").args(["-c", script, "sh"]).arg(&self.archive).arg(&member))?;
        tools::not_empty(text).with_context(|| format!("{package} holds no {member}"))
    }

    /// Unpacks the files and folders `members` into `folder`.
    pub fn extract(&self, members: &[&str], folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--xz", "--strip-components=1", "--no-same-owner", "--file"]).arg(&self.archive);
        tar.arg("--directory").arg(folder);
        tar.args(members.iter().map(|member| format!("{}/{member}", self.package)));
        process::output(&mut tar).map(drop)
    }
}

fn series(release: &str) -> Option<&str> {
    let second = release.match_indices('.').nth(1).map_or(release.len(), |(at, _)| at);
    let series = release.get(..second)?;
    series.starts_with(|c: char| c.is_ascii_digit()).then_some(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_named_in_one_of_three_ways() {
        let names = ["linux-compiler-gcc-12-x86", "gcc-14", "gcc-16-for-host", "linux-kbuild-6.1", "gcc-base"];
        assert_eq!(names.map(gcc), [Some("12"), Some("14"), Some("16"), None, None]);
    }

    #[test]
    fn the_series_is_the_first_two_numbers_of_a_release() {
        assert_eq!(series("6.1.0-56-amd64"), Some("6.1"));
        assert_eq!(series("7.2"), Some("7.2"));
        assert_eq!(series("custom"), None);
    }
}
