//! Choosing a kernel's modules and putting them into the order in which they load.
//!
//! A kernel package holds no `modules.dep` (installing it makes that), so dependencies are read where depmod reads
//! them: from the `depends=` entry of each module's `.modinfo` section.

use super::kernel::Kernel;
use crate::process;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A module, ready to be loaded.
#[derive(Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, with `_` as the kernel writes it.
    pub name: String,
    /// The uncompressed `.ko`.
    pub object: Vec<u8>,
}

/// The modules of one kernel.
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
    built_in: Vec<String>,
}

impl Modules {
    /// The modules of `kernel`, those that were rebuilt in the place of its own.
    pub fn of(kernel: &Kernel) -> Result<Self> {
        let mut modules = Self::list(&kernel.modules)?;
        if let Some(folder) = &kernel.rebuilt {
            modules.files.extend(Self::list(folder)?.files);
        }
        Ok(modules)
    }

    /// Lists the modules under `folder` (`lib/modules/RELEASE`).
    fn list(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if let Some(name) = name(&entry.path()) {
                    files.insert(name, entry.path());
                }
            }
        }
        let built_in = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
        Ok(Self { files, built_in: built_in.lines().filter_map(|line| name(Path::new(line))).collect() })
    }

    /// The file of module `name`, where this kernel has one.
    pub fn file(&self, name: &str) -> Option<&Path> {
        self.files.get(name).map(PathBuf::as_path)
    }

    /// Adds to `ordered` module `wanted` behind all that it depends on. False where this kernel does not have it.
    pub fn require(&self, wanted: &str, ordered: &mut Vec<Module>) -> Result<bool> {
        let wanted = wanted.replace('-', "_");
        if self.built_in.contains(&wanted) || ordered.iter().any(|module| module.name == wanted) {
            return Ok(true);
        }
        let Some(file) = self.files.get(&wanted) else { return Ok(false) };
        self.add(wanted, read(file)?, ordered)?;
        Ok(true)
    }

    /// Adds to `ordered` the module `object` that lies outside this kernel's folder, behind all that it depends on.
    pub fn add(&self, name: String, object: Vec<u8>, ordered: &mut Vec<Module>) -> Result<()> {
        for needed in depends(&object) {
            if !self.require(&needed, ordered)? {
                bail!("module {name} needs {needed}, which this kernel does not have");
            }
        }
        ordered.push(Module { name, object });
        Ok(())
    }
}

/// The module's name, from a file name such as `vfio-pci.ko.xz`.
fn name(file: &Path) -> Option<String> {
    let (name, rest) = file.file_name()?.to_str()?.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".gz" | ".zst").then(|| name.replace('-', "_"))
}

/// Reads a module, unpacking it where it is compressed.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("gz") => "gzip",
        Some("zst") => "zstd",
        _ => return fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    };
    process::output(Command::new(program).arg("-dc").arg(file))
}

fn depends(object: &[u8]) -> Vec<String> {
    const ENTRY: &[u8] = b"\0depends=";
    let entry = object.windows(ENTRY.len()).position(|window| window == ENTRY);
    let list = entry.and_then(|at| object.get(at + ENTRY.len()..)).unwrap_or_default();
    let list = list.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(list).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(modules: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("kernel/drivers")).unwrap();
        for (file, depends) in modules {
            let object = format!("ELF\0license=GPL\0depends={depends}\0name=x\0");
            fs::write(folder.path().join("kernel/drivers").join(file), object).unwrap();
        }
        fs::write(folder.path().join("modules.builtin"), "kernel/virt/lib/irqbypass.ko\n").unwrap();
        folder
    }

    fn names(ordered: &[Module]) -> Vec<&str> {
        ordered.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn a_module_comes_behind_what_it_depends_on_and_only_once() {
        let folder =
            folder(&[("vfio-pci.ko", "vfio-pci-core,vfio"), ("vfio-pci-core.ko", "vfio,irqbypass"), ("vfio.ko", "")]);
        let modules = Modules::list(folder.path()).unwrap();
        let mut ordered = Vec::new();
        assert!(modules.require("vfio-pci", &mut ordered).unwrap());
        assert!(modules.require("vfio", &mut ordered).unwrap());
        assert!(modules.require("irqbypass", &mut ordered).unwrap(), "built in");
        assert_eq!(names(&ordered), ["vfio", "vfio_pci_core", "vfio_pci"]);
    }

    #[test]
    fn what_a_kernel_lacks_is_told_and_a_broken_dependency_is_named() {
        let folder = folder(&[("mdev.ko", "gone")]);
        let modules = Modules::list(folder.path()).unwrap();
        assert!(!modules.require("vfio_virqfd", &mut Vec::new()).unwrap());
        let error = modules.require("mdev", &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(error, "module mdev needs gone, which this kernel does not have");
    }

    #[test]
    fn compressed_modules_are_known_by_the_same_name() {
        for file in ["vfio-pci.ko", "vfio-pci.ko.xz", "vfio-pci.ko.zst"] {
            assert_eq!(name(Path::new(file)).as_deref(), Some("vfio_pci"));
        }
        assert_eq!(name(Path::new("modules.order")), None);
    }
}
