//! A folder with the tools of another Debian release, in which a kernel's modules are built.

use super::apt::Apt;
use crate::process;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What make and a shell need beside what the kernel's headers bring (their compiler with all it needs).
const TOOLS: [&str; 9] = ["make", "dash", "bash", "sed", "grep", "gawk", "coreutils", "findutils", "libc6-dev"];
/// The folders that Debian's releases have merged into `/usr`.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Runs make in the folder `$1`, which is its `/`. The mounts are of this process's own and end with it.
const ENTER: &str = r#"
set -e
root=$1; shift
mount --bind /dev/null "$root/dev/null"
mount --rbind /proc "$root/proc"
exec chroot "$root" /usr/bin/env -i PATH=/usr/bin:/usr/sbin LC_ALL=C make "$@"
"#;

/// The folder.
pub struct BuildRoot {
    path: PathBuf,
}

impl BuildRoot {
    /// Unpacks `packages`, with all that they need, into `path`.
    pub fn unpack(apt: &Apt, packages: &[String], path: &Path) -> Result<Self> {
        let downloads = path.join("downloads");
        let wanted: Vec<String> = packages.iter().cloned().chain(TOOLS.map(str::to_owned)).collect();
        apt.download_whole(&wanted, &downloads)?;
        for folder in MERGED {
            fs::create_dir_all(path.join("usr").join(folder))?;
            std::os::unix::fs::symlink(format!("usr/{folder}"), path.join(folder))?;
        }
        for folder in ["dev", "proc", "tmp"] {
            fs::create_dir_all(path.join(folder))?;
        }
        fs::write(path.join("dev/null"), "")?;
        // dpkg -x would put a folder in the place of a link that an older package knows as a folder.
        let script = r#"dpkg --fsys-tarfile "$1" | tar -x --no-same-owner --keep-directory-symlink -C "$2""#;
        for file in fs::read_dir(&downloads)? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "deb") {
                process::output(Command::new("sh").args(["-c", script, "sh"]).arg(file).arg(path))?;
            }
        }
        fs::remove_dir_all(&downloads)?;
        Ok(Self { path: path.to_path_buf() })
    }

    /// Where it is on this machine.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs make in it.
    pub fn make(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["sh", "-c", ENTER, "sh"]).arg(&self.path).arg("AWK=gawk").args(arguments);
        process::output(&mut command)
            .map(drop)
            .context("make does not end well in a folder of its own (unshare, mount and chroot)")
    }
}
