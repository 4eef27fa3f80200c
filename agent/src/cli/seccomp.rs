//! `vfiod seccomp`: the system calls that vfiod needs, as a profile for a container runtime.

use super::Failure;
use crate::io::replace;
use clap::Args;
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// The profile: what vfiod calls, io_uring and the kernel probe included, and nothing else.
const PROFILE: &str = include_str!("../../../deploy/seccomp/uring.json");

/// Its name below the folder; pods refer to it (`localhostProfile`, relative to the kubelet's folder `seccomp`).
const NAME: &str = "uring.json";

/// Writes the seccomp profile that lets vfiod use io_uring, and else only what it needs.
#[derive(Debug, Args)]
pub struct SeccompArgs {
    /// Write it into this folder instead of to stdout, as uring.json; the folder is made if need be
    #[arg(long, value_name = "DIR")]
    install: Option<PathBuf>,
}

/// Runs the subcommand.
///
/// # Errors
/// When the profile cannot be written.
pub fn run(args: &SeccompArgs) -> Result<(), Failure> {
    match &args.install {
        None => io::stdout()
            .write_all(PROFILE.as_bytes())
            .map_err(|error| Failure::Error(format!("cannot write the profile to stdout: {error}"))),
        Some(folder) => {
            let path = folder.join(NAME);
            install(&path).map_err(|error| {
                Failure::Error(format!("{}: {error}; name a folder that can be written to", path.display()))
            })
        }
    }
}

/// Replaces the profile at once: a container that starts meanwhile finds the old one or the new one.
fn install(path: &Path) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == PROFILE.as_bytes()) {
        return Ok(());
    }
    replace(path, PROFILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use tempfile::TempDir;

    #[test]
    fn whatever_is_not_named_is_refused() {
        let profile: Value = serde_json::from_str(PROFILE).unwrap();
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        let names: Vec<&str> = profile["syscalls"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|group| group["names"].as_array().unwrap())
            .map(|name| name.as_str().unwrap())
            .collect();
        assert!(names.contains(&"io_uring_setup") && names.contains(&"bpf"));
        for refused in
            ["ptrace", "mount", "setns", "unshare", "init_module", "kexec_load", "process_vm_readv", "mknodat"]
        {
            assert!(!names.contains(&refused), "{refused}");
        }
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len(), "a call is named twice");
    }

    #[test]
    fn it_is_installed_whole_and_an_older_one_replaced() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("seccomp/vfiod").join(NAME);
        for _ in 0..2 {
            install(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), PROFILE);
            assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
            fs::write(&path, "{}").unwrap();
        }
    }
}
