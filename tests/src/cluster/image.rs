//! The image of every pod here: Debian's static busybox, which also does nothing for a pod's sandbox.

use anyhow::{Context, Result, bail};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

/// Its name.
pub(super) const NAME: &str = "localhost/busybox:1";

/// Writes the image into `folder` and brings it to the kubelet's engine.
pub(super) fn import(folder: &Path) -> Result<()> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find_map(|path| fs::read(path).ok());
    let mut layer = tar::Builder::new(Vec::new());
    add(&mut layer, "bin/busybox", 0o755, &busybox.context("there is no busybox (Debian: busybox-static)")?)?;
    let layer = layer.into_inner()?;
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": ["/bin/busybox"], "Cmd": ["sleep", "2147483647"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{:x}", Sha256::digest(&layer))]},
    });
    // As docker writes it, which containerd reads, too.
    let index = json!([{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]);
    let archive = folder.join("busybox.tar");
    let mut whole = tar::Builder::new(File::create(&archive)?);
    add(&mut whole, "layer.tar", 0o644, &layer)?;
    add(&mut whole, "config.json", 0o644, config.to_string().as_bytes())?;
    add(&mut whole, "manifest.json", 0o644, index.to_string().as_bytes())?;
    whole.finish()?;
    let mut ctr = Command::new("ctr");
    ctr.args(["--namespace", "k8s.io", "image", "import"]).arg(&archive).stdin(Stdio::null());
    let output = ctr.output().context("cannot run ctr")?;
    if !output.status.success() {
        bail!("containerd does not take busybox: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn add(tar: &mut tar::Builder<impl std::io::Write>, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_cksum();
    Ok(tar.append_data(&mut header, name, bytes)?)
}
