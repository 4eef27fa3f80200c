//! apt, as the machine has it configured: its own mirrors and keys. Nothing here names a package host.

use crate::process;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
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
        for part in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(folder.join(part)).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let set = |name: &str, value: String| ["-o".to_owned(), format!("{name}={value}")];
        let shown = folder.display();
        let options = [
            set("Dir::State::lists", format!("{shown}/lists")),
            set("Dir::Cache", shown.to_string()),
            // The private folder may be closed to the user that apt would drop its rights to.
            set("APT::Sandbox::User", "root".into()),
        ];
        let apt = Self { options: options.concat() };
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

/// `apt`'s answer to `ask`, from the machine's lists or, where these know nothing, from fresh private ones.
pub fn resolve<T>(lists: &Path, ask: impl Fn(&Apt) -> Result<T>) -> Result<T> {
    let Some(system) = Apt::system() else { bail!("apt is not on this machine") };
    // The machine's lists may be absent (a fresh container image) or name files that its mirror has dropped since.
    ask(&system).or_else(|first| match Apt::private(lists) {
        Ok(private) => ask(&private),
        Err(second) => Err(first.context(format!("{second:#}"))),
    })
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
