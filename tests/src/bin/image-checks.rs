//! `image-checks ARCHIVE REFERENCE MANIFESTS`: the image in a containerd of its own, run as the rendered MANIFESTS have it,
//! serving the simulator's kubelet. Prints a line for each check; `cargo xtask test image` starts it.

use anyhow::{Context, Result};
use std::{fs, process::ExitCode};
use vfiod_tests::image::{Subject, run};

fn main() -> ExitCode {
    match checks() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("FAIL the image can be tried: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn checks() -> Result<usize> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [archive, reference, manifests] = arguments.as_slice() else {
        eprintln!("usage: image-checks ARCHIVE REFERENCE MANIFESTS    (started by `cargo xtask test image`)");
        std::process::exit(2);
    };
    let manifests = fs::read_to_string(manifests).with_context(|| format!("cannot read {manifests}"))?;
    let subject = Subject { archive: archive.into(), reference: reference.clone(), manifests };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&subject))
}
