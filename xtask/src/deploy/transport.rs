//! How the image comes to the nodes.

use super::{Args, Engine};
use crate::{
    image::{self, Image},
    process,
};
use anyhow::{Result, bail};
use std::{
    fmt,
    path::Path,
    process::{Command, Stdio},
};

/// The way of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Into containerd on this machine.
    Containerd,
    /// Into the nodes of the kind cluster of this name.
    Kind(String),
    /// Into podman's store on this machine.
    Podman,
    /// To a registry.
    Push(String),
    /// Somebody else's business.
    None,
}

impl Transport {
    pub(super) fn of(args: &Args) -> Self {
        match (&args.push, args.load) {
            (Some(reference), _) => Self::Push(reference.clone()),
            (None, Some(Engine::Containerd)) => Self::Containerd,
            (None, Some(Engine::Kind)) => Self::Kind(args.kind_name.clone()),
            (None, Some(Engine::Podman)) => Self::Podman,
            (None, None) => Self::None,
        }
    }

    /// The name to build the image under.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Push(reference) => without_tag(reference),
            _ => image::NAME,
        }
    }

    /// The image's reference, as far as it is known before it is built.
    pub(super) fn reference_to_come(&self) -> String {
        match self {
            Self::Push(reference) => reference.clone(),
            _ => format!("{}:{}-<digest>", image::NAME, env!("CARGO_PKG_VERSION")).replace(['<', '>'], "_"),
        }
    }

    /// The command that brings the image in `archive` there.
    fn command(&self, archive: &Path) -> Option<Command> {
        let mut command;
        match self {
            Self::Containerd => {
                command = Command::new("ctr");
                command.args(["--namespace", "k8s.io", "image", "import"]).arg(archive);
            }
            Self::Kind(name) => {
                command = Command::new("kind");
                command.args(["load", "image-archive"]).arg(archive).args(["--name", name]);
            }
            Self::Podman => {
                command = Command::new("podman");
                command.args(["load", "--input"]).arg(archive);
            }
            Self::Push(reference) => {
                command = Command::new("skopeo");
                command.arg("copy").arg(format!("oci-archive:{}", archive.display()));
                command.arg(format!("docker://{reference}"));
            }
            Self::None => return None,
        }
        Some(command)
    }

    /// Programs that are not on this machine, each with how to get it.
    pub(super) fn missing(&self) -> Vec<String> {
        let Some(command) = self.command(Path::new("image.tar")) else { return Vec::new() };
        let program = command.get_program().to_string_lossy().into_owned();
        let how = match program.as_str() {
            "ctr" => "it comes with containerd: `apt-get install containerd`; of k3s it is `k3s ctr`",
            "kind" => "from kind.sigs.k8s.io",
            "podman" => "`apt-get install podman`",
            _ => "`apt-get install skopeo`; sign in with `skopeo login`",
        };
        if process::find(&program).is_some() { Vec::new() } else { vec![format!("{program}; get it: {how}")] }
    }

    /// Brings the image there, and says under which reference the nodes find it.
    ///
    /// # Errors
    /// When the engine or the registry refuses it.
    pub(super) fn bring(&self, image: &Image) -> Result<String> {
        let Some(mut command) = self.command(&image.path) else {
            println!("   neither --load nor --push: every node must have {} already", image.reference);
            return Ok(image.reference.clone());
        };
        let shown = process::shown(&command);
        println!("   {shown}");
        let status = command.stdin(Stdio::null()).status()?;
        if !status.success() {
            bail!("`{shown}` failed ({status})");
        }
        Ok(match self {
            // By digest: whatever happens to the tag, the nodes run what was built here.
            Self::Push(reference) => format!("{}@{}", without_tag(reference), image.digest),
            _ => image.reference.clone(),
        })
    }
}

/// The name in a reference. A colon in front of the last slash belongs to a port.
fn without_tag(reference: &str) -> &str {
    let reference = reference.split_once('@').map_or(reference, |(name, _)| name);
    let last = reference.rfind('/').map_or(0, |slash| slash + 1);
    match reference.get(last..).and_then(|rest| rest.find(':')) {
        Some(colon) => reference.get(..last + colon).unwrap_or(reference),
        None => reference,
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.command(Path::new("target/vfiod-image.tar")) {
            Some(command) => f.write_str(&process::shown(&command)),
            None => f.write_str("none: the nodes have the image already (see --load and --push)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag() {
        for (reference, name) in [
            ("registry:5000/vfiod:1.2", "registry:5000/vfiod"),
            ("registry:5000/vfiod", "registry:5000/vfiod"),
            ("vfiod:1", "vfiod"),
            ("a.example/b/vfiod@sha256:00", "a.example/b/vfiod"),
        ] {
            assert_eq!(without_tag(reference), name);
        }
    }

    #[test]
    fn a_pushed_image_is_named_for_its_registry() {
        let push = Transport::Push("registry.example.com/team/vfiod:7".to_owned());
        assert_eq!(push.name(), "registry.example.com/team/vfiod");
        assert_eq!(push.reference_to_come(), "registry.example.com/team/vfiod:7");
        assert!(push.to_string().ends_with("docker://registry.example.com/team/vfiod:7"));
        assert_eq!(Transport::Containerd.name(), "localhost/vfiod");
    }
}
