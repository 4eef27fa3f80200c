//! A kernel to boot: its image, its modules and its name.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// A kernel.
#[derive(Debug)]
pub struct Kernel {
    /// The bootable image (`vmlinuz`).
    pub image: PathBuf,
    /// The folder that holds `kernel/` and `modules.builtin`.
    pub modules: PathBuf,
    /// What `uname -r` says in it, such as `6.1.0-56-amd64`.
    pub release: String,
    /// Where it is from, for people.
    pub origin: String,
    /// A folder with modules that take the place of some of its own.
    pub rebuilt: Option<PathBuf>,
}

impl Kernel {
    /// The kernel given on the command line. `modules` is `lib/modules/RELEASE` or a folder above it that holds just one.
    pub fn given(image: &Path, modules: &Path) -> Result<Self> {
        if !image.is_file() {
            bail!("--kernel {}: no such file", image.display());
        }
        let modules = release_folder(modules).with_context(|| format!("--modules {}", modules.display()))?;
        let modules = fs::canonicalize(&modules).with_context(|| format!("--modules {}", modules.display()))?;
        let release = modules.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { image: image.to_path_buf(), modules, release, origin: image.display().to_string(), rebuilt: None })
    }

    /// The kernel whose package was unpacked into `root`.
    pub fn unpacked(root: &Path, origin: &str) -> Result<Self> {
        let modules = ["lib/modules", "usr/lib/modules"].map(|folder| root.join(folder));
        let modules = modules.iter().find(|folder| folder.is_dir()).context("the package holds no modules")?;
        let boot = root.join("boot");
        let modules = release_folder(modules)?;
        let release = modules.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let image = [boot.join(format!("vmlinuz-{release}")), modules.join("vmlinuz")]
            .into_iter()
            .find(|image| image.is_file())
            .with_context(|| format!("{} holds no image of kernel {release}", root.display()))?;
        Ok(Self { image, modules, release, origin: origin.to_owned(), rebuilt: None })
    }
}

impl Kernel {
    /// A name for exactly this kernel: its release alone stays the same over rebuilds that change symbol versions.
    pub fn identity(&self) -> Result<String> {
        let size = fs::metadata(&self.image).with_context(|| format!("cannot read {}", self.image.display()))?.len();
        Ok(format!("{}-{size}", self.release))
    }
}

/// `folder`, or the one folder in it, whichever holds `kernel/`.
fn release_folder(folder: &Path) -> Result<PathBuf> {
    if folder.join("kernel").is_dir() {
        return Ok(folder.to_path_buf());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.join("kernel").is_dir() {
            found.push(path);
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("{} holds no modules: name the folder that holds `kernel/`", folder.display()),
        [first, ..] => bail!("{} holds several kernels: name one, such as {}", folder.display(), first.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_may_be_given_by_their_folder_or_the_one_above() {
        let root = tempfile::tempdir().unwrap();
        let image = root.path().join("vmlinuz");
        fs::write(&image, "").unwrap();
        fs::create_dir_all(root.path().join("modules/6.1.0-1/kernel")).unwrap();
        for folder in ["modules", "modules/6.1.0-1"] {
            assert_eq!(Kernel::given(&image, &root.path().join(folder)).unwrap().release, "6.1.0-1");
        }
        fs::create_dir_all(root.path().join("modules/6.1.0-2/kernel")).unwrap();
        let error = format!("{:#}", Kernel::given(&image, &root.path().join("modules")).unwrap_err());
        assert!(error.contains("several kernels"), "{error}");
        let error = format!("{:#}", Kernel::given(&root.path().join("none"), root.path()).unwrap_err());
        assert!(error.contains("no such file"), "{error}");
    }
}
