//! The container image, built and started in a real engine.

use super::tally::Tally;
use crate::{
    image,
    kubectl::{self, KUBECTL},
    process,
    vm::tools::{Need, all_present},
    workspace::{self, Profile},
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    process::{Command, Stdio},
};

const NEEDS: [Need; 4] = [
    Need { name: "containerd", package: "containerd", present: || process::find("containerd").is_some() },
    Need { name: "ctr", package: "containerd", present: || process::find("ctr").is_some() },
    Need { name: "runc", package: "runc", present: || process::find("runc").is_some() },
    kubectl::NEED,
];

/// The overlay that the container is run by: it needs no API server.
const OVERLAY: &str = "deploy/overlays/file";

/// Builds the image and tries it.
///
/// # Errors
/// [`Unavailable`](crate::vm::Unavailable) where there is no engine and none may be installed.
pub(super) fn run() -> Result<Tally> {
    if !rustix::process::geteuid().is_root() {
        return Err(crate::vm::Unavailable("a container engine of its own needs root".to_owned()).into());
    }
    all_present("image", &NEEDS)?;
    let image = image::write(image::NAME, &image::default_path()?)?;
    println!("{}: {} bytes", image.path.display(), image.size);
    let rendered = workspace::target()?.join("image-manifests.yaml");
    let yaml = process::output(Command::new(KUBECTL).arg("kustomize").arg(workspace::root().join(OVERLAY)))?;
    fs::write(&rendered, yaml).with_context(|| format!("cannot write {}", rendered.display()))?;
    let built = workspace::build(&[("vfiod-tests", "image-checks")], Profile::Debug)?;
    let checks = built.get("image-checks").context("cargo built no image-checks")?;
    let output = Command::new(checks)
        .arg(&image.path)
        .arg(&image.reference)
        .arg(&rendered)
        .stderr(Stdio::inherit())
        .stdin(Stdio::null())
        .output()
        .context("cannot run image-checks")?;
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    let tally = counted(&said);
    if tally == Tally::default() {
        bail!("image-checks ended ({}) without a check", output.status);
    }
    Ok(tally)
}

/// One line is one check.
fn counted(said: &str) -> Tally {
    let mut tally = Tally::default();
    for line in said.lines() {
        if line.starts_with("ok ") {
            tally += Tally::passed(1);
        } else if line.starts_with("FAIL ") {
            tally += Tally::failed(1);
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_counts_once() {
        let mut expected = Tally::passed(2);
        expected += Tally::failed(1);
        assert_eq!(counted("ok   one\nFAIL two: because\nof that\nok   three\n"), expected);
    }
}
