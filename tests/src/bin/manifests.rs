//! `vfiod-manifests`: reads rendered manifests from stdin, checks them without a cluster, and lists what is in them.
//!
//! Exit code 1 when something is wrong with them; `cargo xtask build-and-deploy` then applies nothing.

use anyhow::Result;
use std::{io::Read, process::ExitCode};
use vfiod_tests::manifests;

fn main() -> ExitCode {
    match run() {
        Ok(breaches) if breaches.is_empty() => ExitCode::SUCCESS,
        Ok(breaches) => {
            breaches.iter().for_each(|breach| eprintln!("manifests: {breach}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("manifests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Vec<String>> {
    let mut yaml = String::new();
    std::io::stdin().read_to_string(&mut yaml)?;
    let objects = manifests::read(&yaml)?;
    for object in &objects {
        println!("{:<20} {}", object.kind, object.name);
    }
    if !objects.iter().any(|object| object.kind == "DaemonSet") {
        return Ok(Vec::new());
    }
    Ok(manifests::breaches(&manifests::daemon_set(&objects)?))
}
