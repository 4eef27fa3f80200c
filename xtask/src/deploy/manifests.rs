//! The manifests: an overlay with the image's reference in it, rendered by kubectl and checked without a cluster.

use super::scratch;
use crate::{kubectl::KUBECTL, process, workspace};
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The image's name in `deploy/base`.
const PLACEHOLDER: &str = "localhost/vfiod";

/// What happens on a node when the DaemonSet changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rollout {
    /// The new instance serves before the old one ends, as `deploy/base` has it.
    Surge,
    /// The old instance ends first: all that API servers before 1.22 know.
    OneByOne,
}

/// What makes [`Rollout::OneByOne`] of the base. The whole field is replaced.
const ONE_BY_ONE: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: vfiod
  namespace: vfiod
spec:
  updateStrategy:
    $patch: replace
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 1
";

/// The folder that `--overlay` means: a path where it has a slash in it, else one of `deploy/overlays`.
pub(super) fn folder(overlay: &str) -> PathBuf {
    if overlay.contains('/') { overlay.into() } else { workspace::root().join("deploy/overlays").join(overlay) }
}

/// Renders `overlay` with the image `reference`, and says where the result is.
///
/// # Errors
/// When kubectl does not understand the overlay.
pub(super) fn render(overlay: &str, reference: &str, rollout: Rollout) -> Result<PathBuf> {
    let folder = scratch()?;
    let mut text = kustomization(&base(&folder, overlay)?, reference);
    if rollout == Rollout::OneByOne {
        text.push_str("patchesStrategicMerge:\n- rollout.yaml\n");
        fs::write(folder.join("rollout.yaml"), ONE_BY_ONE)?;
    }
    fs::write(folder.join("kustomization.yaml"), text)?;
    let yaml = process::output(Command::new(KUBECTL).arg("kustomize").arg(&folder))?;
    let rendered = folder.join("manifests.yaml");
    fs::write(&rendered, yaml).with_context(|| format!("cannot write {}", rendered.display()))?;
    Ok(rendered)
}

/// The overlay as seen from `folder`: kustomize takes relative paths only.
fn base(folder: &Path, overlay: &str) -> Result<String> {
    let here = fs::canonicalize(folder)?;
    let there = self::folder(overlay);
    let there = fs::canonicalize(&there).with_context(|| format!("there is no {}", there.display()))?;
    let shared = here.components().zip(there.components()).take_while(|(one, other)| one == other).count();
    let up = here.components().skip(shared).map(|_| "..".into());
    let down = there.components().skip(shared).map(|part| part.as_os_str().to_os_string());
    let path: PathBuf = up.chain(down).collect();
    Ok(path.display().to_string())
}

fn kustomization(base: &str, reference: &str) -> String {
    let image = match reference.split_once('@') {
        Some((name, digest)) => format!("  newName: {name}\n  digest: {digest}\n"),
        None => {
            let (name, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
            format!("  newName: {name}\n  newTag: {tag:?}\n")
        }
    };
    format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nbases:\n- {base}\nimages:\n\
         - name: {PLACEHOLDER}\n{image}"
    )
}

/// Checks rendered manifests without a cluster: every field known, every rule of vfiod kept.
///
/// # Errors
/// When they do not pass.
pub(super) fn check(rendered: &Path) -> Result<()> {
    // In a binary of its own: it takes the schemas of Kubernetes, which no other task needs.
    let built = workspace::build(&[("vfiod-tests", "vfiod-manifests")], workspace::Profile::Debug)?;
    let checker = built.get("vfiod-manifests").context("cargo built no vfiod-manifests")?;
    let manifests = File::open(rendered).with_context(|| format!("cannot read {}", rendered.display()))?;
    let status = Command::new(checker).stdin(Stdio::from(manifests)).status().context("cannot check the manifests")?;
    if !status.success() {
        bail!("the manifests do not pass; nothing is applied");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_and_a_digest_are_told_apart() {
        let tagged = kustomization("../overlay", "registry:5000/vfiod:0.1.0-0123");
        assert!(tagged.contains("newName: registry:5000/vfiod\n  newTag: \"0.1.0-0123\""), "{tagged}");
        let pinned = kustomization("../overlay", "registry:5000/vfiod@sha256:00ff");
        assert!(pinned.contains("newName: registry:5000/vfiod\n  digest: sha256:00ff"), "{pinned}");
    }

    #[test]
    fn the_overlay_is_reached_from_wherever_the_target_folder_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(base(folder.path(), "file").unwrap());
        assert!(path.join("kustomization.yaml").is_file(), "{}", path.display());
    }
}
