//! `cargo xtask image`: the container image, as an OCI archive, made without a container engine.
//!
//! ```text
//! binary      one static program, with no path of this machine in it
//! licences    what it is made of, and under which terms; refuses terms that are not known to be acceptable
//! layer       the files, as a tar whose bytes depend on nothing else
//! archive     layer, configuration, manifest and index, as containerd, podman and docker load them
//! ```
//!
//! The same sources, compiler and C library give the same bytes on every machine.

mod archive;
mod binary;
mod layer;
mod licences;
mod origin;

use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use archive::{Archive, Describe};
use layer::Layer;
use origin::Origin;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The archive, which is what nodes fetch, may not be larger than this: bytes.
const LARGEST: usize = 20_000_000;

/// What to write, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The archive to write (default: vfiod-image.tar in the target folder)
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The image's name without a tag; the tag is made of the version and the image's own digest
    #[arg(long, value_name = "NAME", default_value = NAME)]
    name: String,
    /// Build the binary twice, the second time from a copy of the sources elsewhere, and compare
    #[arg(long)]
    twice: bool,
}

/// The image's name, where nobody says another one: no registry is asked for it.
pub const NAME: &str = "localhost/vfiod";

/// An image that has been written.
#[derive(Debug)]
pub struct Image {
    /// The archive.
    pub path: PathBuf,
    /// Name and tag. The tag changes with every byte of the image, so that a rollout notices.
    pub reference: String,
    /// The digest of the manifest.
    pub digest: String,
    /// The size of the archive in bytes.
    pub size: usize,
}

/// Runs the task.
///
/// # Errors
/// When the binary does not build, a dependency's terms are not acceptable, or the archive cannot be written.
pub fn main(args: &Args) -> Result<ExitCode> {
    let output = args.output.clone().map_or_else(default_path, Ok)?;
    let image = write(&args.name, &output)?;
    println!("{}: {} bytes\n{}\n{}", image.path.display(), image.size, image.reference, image.digest);
    if args.twice {
        let here = fs::read(binary::built()?)?;
        let there = fs::read(binary::build_elsewhere()?)?;
        ensure!(here == there, "two builds of the same sources in two folders differ");
        println!("a second build, from a copy of the sources, gives the same binary byte for byte");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the archive is written, unless told otherwise.
///
/// # Errors
/// When cargo cannot say where its target folder is.
pub fn default_path() -> Result<PathBuf> {
    Ok(workspace::target()?.join("vfiod-image.tar"))
}

/// Builds the image `name` and writes it to `path`.
///
/// # Errors
/// As [`main`].
pub fn write(name: &str, path: &Path) -> Result<Image> {
    let binary = binary::build()?;
    let program = fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
    binary::check_static(&program).with_context(|| binary.display().to_string())?;
    let licences = licences::collect()?;
    let origin = Origin::of_workspace()?;
    let archive = assemble(name, program, licences, &origin)?;
    let size = archive.bytes.len();
    eprintln!("the image takes {size} bytes, {} unpacked", archive.unpacked);
    if size > LARGEST {
        bail!("the image takes {size} bytes; at most {LARGEST} are allowed");
    }
    fs::write(path, &archive.bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Image {
        path: path.to_path_buf(),
        reference: archive.reference,
        digest: archive.digest,
        size: archive.bytes.len(),
    })
}

/// The archive of an image with this program and these licences.
fn assemble(name: &str, program: Vec<u8>, licences: licences::Licences, origin: &Origin) -> Result<Archive> {
    let mut layer = Layer::default();
    layer.program("usr/bin/vfiod", program);
    layer.text("usr/share/doc/vfiod/LICENSE", licences.own);
    layer.text("usr/share/doc/vfiod/LICENSE-MIT.probe", licences.probe);
    layer.text("usr/share/doc/vfiod/THIRD-PARTY.txt", licences.third_party);
    // Where the host's folders are mounted; a root file system that cannot be written to has them already.
    for folder in MOUNT_POINTS {
        layer.folder(folder);
    }
    archive::write(&layer, &Describe { name, version: env!("CARGO_PKG_VERSION"), origin })
}

/// What `deploy/base` mounts, and what a container runtime brings.
const MOUNT_POINTS: [&str; 11] = [
    "dev",
    "etc/vfiod",
    "proc",
    "run/vfiod",
    "sys",
    "tmp",
    "var/lib/kubelet/device-plugins",
    "var/lib/kubelet/plugins_registry",
    "var/lib/kubelet/pod-resources",
    "var/lib/vfiod",
    "var/log/pods",
];

#[cfg(test)]
mod tests {
    use super::*;
    use licences::Licences;

    fn image(program: &[u8]) -> Archive {
        let licences =
            Licences { own: "ours".to_owned(), probe: "the probe's".to_owned(), third_party: "theirs".to_owned() };
        assemble("localhost/vfiod", program.to_vec(), licences, &Origin::default()).unwrap()
    }

    #[test]
    fn the_same_files_give_the_same_bytes_and_others_another_tag() {
        let (one, two, other) = (image(b"program"), image(b"program"), image(b"Program"));
        assert_eq!(one.bytes, two.bytes);
        assert_eq!(one.reference, two.reference);
        assert_ne!(one.reference, other.reference);
        assert_ne!(one.digest, other.digest);
    }
}
