//! What goes into the guest: programs, modules and the script that starts them.

use super::initramfs::Initramfs;
use super::kernel::Kernel;
use super::modules::{Module, Modules};
use super::{Args, libraries, tools};
use crate::{process, workspace};
use anyhow::{Context, Error, Result, bail};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Modules that the checks cannot do without.
const NEEDED: [&str; 2] = ["vfio_iommu_type1", "vfio-pci"];
/// Modules that are built into some kernels, or that only some checks want: they say so themselves.
const WANTED: [&str; 5] = ["iommufd", "aer_inject", "vfio_virqfd", "pci-stub", "uio_pci_generic"];
/// The programs that are built from the workspace, as (package, binary).
const PROGRAMS: [(&str, &str); 2] = [("vfiod", "vfiod"), ("vfiod-tests", "vm-checks")];

/// The folder in `target/` where a guest is put together and its console is kept. One run at a time has it.
pub struct Workshop {
    folder: PathBuf,
    _lock: File,
}

impl Workshop {
    /// Opens it under `target`.
    pub fn open(target: &Path) -> Result<Self> {
        let folder = target.join("vm");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let lock = File::create(folder.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!("another `cargo xtask vm` of this checkout is running (it holds {}/lock)", folder.display());
        }
        Ok(Self { folder, _lock: lock })
    }

    /// The file that keeps what the guest's kernel prints.
    pub fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// Builds the programs and writes the initramfs.
    pub fn initramfs(&self, kernel: &Kernel, mtty: Result<&[u8], &Error>, args: &Args) -> Result<PathBuf> {
        let built = workspace::build(&PROGRAMS, args.profile)?;
        let path = self.folder.join("initramfs.cpio");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut archive = Initramfs::new(BufWriter::new(file));
        for folder in ["/dev", "/proc", "/sys", "/run", "/tmp", "/var/lib/kubelet", "/var/log/pods"] {
            archive.folder(folder)?;
        }
        let scripts = workspace::root().join("tests/vm");
        archive.file("/init", &read(&scripts.join("init"))?)?;

        let mut programs = Vec::new();
        // busybox's own unshare knows no time namespaces, and it has no setpriv that knows all capabilities.
        for name in ["busybox", "unshare", "setpriv"] {
            programs.push(process::find(name).with_context(|| format!("{name} is gone"))?);
        }
        for (name, program) in &built {
            let stripped = self.folder.join(name);
            // Debug sections are most of a program's size and of no use in the guest.
            process::output(Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(program))?;
            programs.push(stripped);
        }
        for source in sources(&scripts)? {
            let program = self.folder.join(source.file_stem().unwrap_or_default());
            tools::compile(&source, &program)?;
            programs.push(program);
        }
        let mut shared = BTreeSet::new();
        for program in &programs {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            archive.file(&format!("/bin/{name}"), &read(program)?)?;
            shared.extend(libraries::of(program)?);
        }
        for library in shared {
            archive.file(&library.to_string_lossy(), &read(&library)?)?;
        }

        let modules = choose(&Modules::of(kernel)?, mtty.ok())
            .with_context(|| format!("kernel {} cannot run the checks", kernel.release))?;
        for Module { name, object } in &modules {
            archive.file(&format!("/modules/{name}.ko"), object)?;
        }
        let order: String = modules.iter().map(|module| format!("{}\n", module.name)).collect();
        archive.file("/modules/order", order.as_bytes())?;
        if let Err(reason) = mtty {
            archive.file("/modules/mtty.missing", format!("{reason:#}").as_bytes())?;
        }
        archive.file("/task", args.task().as_bytes())?;
        archive.finish()?;
        Ok(path)
    }
}

fn choose(modules: &Modules, mtty: Option<&[u8]>) -> Result<Vec<Module>> {
    let mut ordered = Vec::new();
    for name in WANTED {
        modules.require(name, &mut ordered)?;
    }
    for name in NEEDED {
        if !modules.require(name, &mut ordered)? {
            bail!("it has no module {name}");
        }
    }
    if let Some(object) = mtty {
        modules.add("mtty".into(), object.to_vec(), &mut ordered)?;
    }
    Ok(ordered)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
