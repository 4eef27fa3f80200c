//! apt, as the machine has it configured: its own mirrors and keys. Nothing here names a package host.

pub mod sources;

use crate::process;
use anyhow::{Context, Result};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A way to ask apt for packages, without installing any.
pub struct Apt {
    options: Vec<String>,
}

/// What apt knows of one package.
pub struct Package {
    /// Its version.
    pub version: String,
    /// The names of the packages that it depends on.
    pub depends: Vec<String>,
}

impl Apt {
    /// apt with the package lists that the machine already has.
    pub fn system() -> Option<Self> {
        process::find("apt-get").map(|_| Self { options: Vec::new() })
    }

    /// apt with lists of its own in `folder`, brought up to date: needs no root and does not touch the system's lists.
    pub fn private(folder: &Path) -> Result<Self> {
        Self::refreshed(folder, Vec::new())
    }

    /// apt for another release of the machine's distribution, such as `sid`: the same mirror and keys, with lists of
    /// its own in `folder`.
    pub fn of_suite(suite: &str, folder: &Path) -> Result<Self> {
        Self::of_list(&sources::of_suite(suite)?, folder)
    }

    /// As [`Apt::of_suite`], with the source packages of that release.
    pub fn of_suite_with_sources(suite: &str, folder: &Path) -> Result<Self> {
        let list = sources::of_suite(suite)?;
        Self::of_list(&format!("{list}{}", list.replacen("deb ", "deb-src ", 1)), folder)
    }

    fn of_list(sources: &str, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let list = folder.join("sources.list");
        fs::write(&list, sources).with_context(|| format!("cannot write {}", list.display()))?;
        let options = [
            option("Dir::Etc::sourcelist", list.display()),
            option("Dir::Etc::sourceparts", "-"),
            // The machine's preferences and its default release speak of its own release.
            option("Dir::Etc::preferences", "-"),
            option("Dir::Etc::preferencesparts", "-"),
            option("APT::Default-Release", ""),
        ];
        Self::refreshed(folder, options.concat())
    }

    fn refreshed(folder: &Path, more: Vec<String>) -> Result<Self> {
        for part in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(folder.join(part)).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let shown = folder.display();
        let options = [
            option("Dir::State::lists", format!("{shown}/lists")),
            option("Dir::Cache", &shown),
            // Container images turn the caches off, and every question then takes seconds.
            option("Dir::Cache::pkgcache", "pkgcache.bin"),
            option("Dir::Cache::srcpkgcache", "srcpkgcache.bin"),
            // The private folder may be closed to the user that apt would drop its rights to.
            option("APT::Sandbox::User", "root"),
        ];
        let apt = Self { options: options.into_iter().flatten().chain(more).collect() };
        process::output(apt.command("apt-get").arg("update")).context("cannot refresh apt's package lists")?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(process::find(program).unwrap_or_else(|| program.into()));
        command.args(&self.options).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// What apt knows of `name`, or nothing where it knows no such package.
    pub fn show(&self, name: &str) -> Option<Package> {
        let text = process::text(self.command("apt-cache").args(["show", "--no-all-versions", name])).ok()?;
        parse(&text)
    }

    /// Downloads `packages` (each `name` or `name=version`) and unpacks them into `root`.
    pub fn unpack(&self, packages: &[String], root: &Path) -> Result<()> {
        let downloads = root.join(".downloads");
        fs::create_dir_all(&downloads).with_context(|| format!("cannot create {}", downloads.display()))?;
        process::output(
            self.command("apt-get")
                .args(["-o", "APT::Sandbox::User=root", "download"])
                .args(packages)
                .current_dir(&downloads),
        )?;
        for file in fs::read_dir(&downloads)? {
            process::output(Command::new("dpkg").arg("-x").arg(file?.path()).arg(root))?;
        }
        Ok(fs::remove_dir_all(&downloads)?)
    }

    /// Downloads the source package `name` into `folder`, and says where its upstream archive is.
    pub fn source(&self, name: &str, folder: &Path) -> Result<PathBuf> {
        let mut command = self.command("apt-get");
        process::output(command.args(["source", "--download-only", name]).current_dir(folder))?;
        let files = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut files = files.filter_map(|file| Some(file.ok()?.path()));
        files
            .find(|file| file.to_string_lossy().contains(".orig.tar."))
            .with_context(|| format!("the source package {name} holds no upstream archive"))
    }

    /// Downloads `packages` and all that they need, as if nothing were installed, into `folder`.
    pub fn download_whole(&self, packages: &[String], folder: &Path) -> Result<()> {
        fs::create_dir_all(folder.join("partial")).with_context(|| format!("cannot create {}", folder.display()))?;
        let installed = folder.join("nothing-installed");
        fs::write(&installed, "").with_context(|| format!("cannot write {}", installed.display()))?;
        let mut command = self.command("apt-get");
        for words in [
            option("Dir::State::status", installed.display()),
            option("Dir::State::extended_states", folder.join("none").display()),
            option("Dir::Cache::archives", format!("{}/", folder.display())),
            option("APT::Sandbox::User", "root"),
            // The lock is that of the system's installation, which this does not touch.
            option("Debug::NoLocking", "1"),
        ] {
            command.args(words);
        }
        command.args(["install", "--yes", "--no-install-recommends", "--download-only"]).args(packages);
        process::output(&mut command).map(drop)
    }

    /// Installs `packages` on this machine, refreshing the lists once where they are missing or too old.
    pub fn install(&self, packages: &[&str]) -> Result<()> {
        let install = || {
            let mut command = self.command("apt-get");
            process::output(command.args(["install", "-y", "--no-install-recommends"]).args(packages))
        };
        if install().is_err() {
            process::output(self.command("apt-get").arg("update"))?;
            install()?;
        }
        Ok(())
    }
}

/// Reads the first stanza of `apt-cache show`.
fn parse(text: &str) -> Option<Package> {
    let stanza = text.split("\n\n").next()?;
    let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let depends = field("Depends").unwrap_or_default().split(',');
    Some(Package {
        version: field("Version")?.to_owned(),
        depends: depends.filter_map(|one| one.split_whitespace().next()).map(str::to_owned).collect(),
    })
}

fn option(name: &str, value: impl fmt::Display) -> [String; 2] {
    ["-o".to_owned(), format!("{name}={value}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_gives_version_and_names_of_dependencies() {
        let text = "Package: linux-image-amd64\nVersion: 6.1.192-2\nDepends: linux-image-6.1.0-56-amd64 (= 6.1.192-2), \
                    initramfs-tools | dracut\nSize: 1\n\nPackage: linux-image-amd64\nVersion: 6.1.1-1\n";
        let package = parse(text).unwrap();
        assert_eq!(package.version, "6.1.192-2");
        assert_eq!(package.depends, ["linux-image-6.1.0-56-amd64", "initramfs-tools"]);
        assert!(parse("").is_none());
    }
}
