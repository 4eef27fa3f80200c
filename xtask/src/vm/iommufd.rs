//! VFIO with device nodes (`/dev/vfio/devices/vfioN`) for a kernel that Debian builds without them: its own VFIO modules,
//! built once more with IOMMUFD.

use super::apt::Apt;
use super::archive::Archive;
use super::buildroot::BuildRoot;
use super::cache::Cache;
use super::debian;
use super::kernel::Kernel;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The parts of the kernel's source that are built, and one that is cut out of a file.
const SOURCE: [&str; 4] = ["drivers/vfio", "drivers/iommu", "samples/vfio-mdev", TREE];
/// What iommufd needs of `lib/`, and the kernel lacks without it.
const TREE: &str = "lib/interval_tree.c";
/// The configuration that makes the difference, as make and as the compiler read it.
const MAKE: [&str; 2] = ["CONFIG_IOMMUFD=m", "CONFIG_VFIO_DEVICE_CDEV=y"];
const COMPILER: &str =
    "KCFLAGS=-DCONFIG_IOMMUFD_MODULE=1 -DCONFIG_VFIO_DEVICE_CDEV=1 -DCONFIG_INTERVAL_TREE_SPAN_ITER=1";

/// The folder with the modules for `kernel`: the cached one, or one that is built now.
pub fn find_or_build(cache: &Cache, archive: &Archive, kernel: &Kernel) -> Result<PathBuf> {
    let name = format!("iommufd/{}", kernel.identity()?);
    let folder = cache.folder(&name);
    if folder.is_dir() {
        return Ok(folder);
    }
    eprintln!("vm: building VFIO with IOMMUFD for {}", kernel.release);
    let built = archive.ask(|apt| cache.create(&name, |folder| build(apt, &kernel.release, folder)));
    built.with_context(|| {
        format!("VFIO with IOMMUFD cannot be built for {}; a newer kernel comes with `--refresh`", kernel.release)
    })
}

fn build(apt: &Apt, release: &str, folder: &Path) -> Result<()> {
    let scratch = folder.join("build");
    let root = BuildRoot::unpack(apt, &[format!("linux-headers-{release}")], &scratch.join("root"))?;
    let source = root.path().join("vfio");
    debian::source(apt, release, &scratch)?.extract(&SOURCE, &source)?;

    let tree = fs::read_to_string(source.join(TREE)).with_context(|| format!("cannot read {TREE}"))?;
    fs::write(source.join("drivers/iommu/iommufd/span.c"), span(&tree))?;
    let makefile = source.join("drivers/iommu/iommufd/Makefile");
    let text = fs::read_to_string(&makefile)?;
    fs::write(&makefile, format!("{text}\niommufd-y += span.o\n"))?;
    fs::write(source.join("samples/vfio-mdev/Makefile"), "obj-m := mtty.o\n")?;
    fs::write(source.join("Makefile"), "obj-m := drivers/iommu/iommufd/ drivers/vfio/ samples/vfio-mdev/\n")?;
    let headers = format!("/usr/src/linux-headers-{release}");
    root.make(&[&["-C", &headers, "M=/vfio"], &MAKE[..], &[COMPILER, "modules"]].concat())?;

    let mut folders = vec![source];
    while let Some(from) = folders.pop() {
        for entry in fs::read_dir(&from)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "ko")
                && let Some(name) = path.file_name()
            {
                fs::rename(&path, folder.join(name))?;
            }
        }
    }
    Ok(fs::remove_dir_all(&scratch)?)
}

/// The part of `lib/interval_tree.c` that the kernel was built without. Its symbols stay within one module.
fn span(tree: &str) -> String {
    let lines = tree.lines().skip_while(|line| *line != "#ifdef CONFIG_INTERVAL_TREE_SPAN_ITER").skip(1);
    let lines = lines.take_while(|line| !line.starts_with("#endif")).filter(|line| !line.starts_with("EXPORT_SYMBOL"));
    std::iter::once("#include <linux/interval_tree.h>").chain(lines).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_lacks_is_cut_out_without_its_exports() {
        let tree = "int there;\n#ifdef CONFIG_INTERVAL_TREE_SPAN_ITER\nint lacking;\nEXPORT_SYMBOL_GPL(lacking);\n#endif\nint rest;\n";
        assert_eq!(span(tree), "#include <linux/interval_tree.h>\nint lacking;\n");
    }
}
