//! Where the running kernel keeps what the probe reads.

use super::btf::{Btf, BtfError};
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};
use vfiod_abi::{ABSENT, Config};

/// Where the kernel describes its types.
pub(super) const BTF: &str = "/sys/kernel/btf";
const VMLINUX: &str = "vmlinux";
/// The module with the groups and devices. Where VFIO is built in, its types are the kernel's own.
const VFIO: &str = "vfio";

/// Why the layout of the kernel's structures is unknown.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file is missing or closed to this process.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {error}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: BtfError,
    },
    /// This kernel's structures are unlike those of every kernel that the probe knows.
    #[error("this kernel has no {member}")]
    Missing {
        /// Structure and member.
        member: &'static str,
    },
}

/// What the kernel says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KernelLayout {
    pub(super) config: Config,
    /// Whether VFIO's structures are known: its module is loaded, or it is built in.
    pub(super) has_vfio: bool,
    /// Whether devices have nodes of their own (`/dev/vfio/devices/vfioN`; kernel: CONFIG_VFIO_DEVICE_CDEV).
    pub(super) has_device_nodes: bool,
}

/// One member, and where its offset goes.
struct Wanted {
    structure: &'static str,
    member: &'static str,
    name: &'static str,
    place: fn(&mut Config) -> &mut u32,
    need: Need,
}

#[derive(PartialEq)]
enum Need {
    /// Every kernel has it.
    Always,
    /// Every kernel with VFIO has it.
    WithVfio,
    /// Newer kernels, or some builds, have it.
    Maybe,
}

macro_rules! wanted {
    ($($structure:ident . $member:literal => $place:ident ($need:ident)),+ $(,)?) => {
        &[$(Wanted {
            structure: stringify!($structure),
            member: $member,
            name: concat!(stringify!($structure), ".", $member),
            place: |config| &mut config.$place,
            need: Need::$need,
        }),+]
    };
}

const WANTED: &[Wanted] = wanted! {
    file."f_inode" => file_inode (Always),
    file."f_path.dentry" => file_dentry (Always),
    file."private_data" => file_private (Always),
    inode."i_rdev" => inode_rdev (Always),
    inode."i_sb" => inode_sb (Always),
    super_block."s_magic" => sb_magic (Always),
    dentry."d_name.name" => dentry_name (Always),
    task_struct."group_leader" => task_leader (Always),
    task_struct."tgid" => task_tgid (Always),
    task_struct."comm" => task_comm (Always),
    task_struct."start_boottime" => task_start (Always),
    task_struct."files" => task_files (Always),
    files_struct."fdt" => files_table (Always),
    fdtable."fd" => table_files (Always),
    device."kobj" => device_object (Always),
    device."kobj.name" => device_name (Always),
    task_struct."cgroups" => task_cgroups (Maybe),
    css_set."dfl_cgrp" => css_cgroup (Maybe),
    cgroup."kn" => cgroup_node (Maybe),
    kernfs_node."id" => node_id (Maybe),
    pci_dev."dev" => pci_device (Maybe),
    module."name" => module_name (Maybe),
    vfio_device."dev" => vfio_dev (WithVfio),
    vfio_device."open_count" => vfio_count (WithVfio),
    vfio_device."group" => vfio_group (Maybe),
    vfio_device."group_next" => vfio_next (Maybe),
    vfio_device."device" => vfio_class_device (Maybe),
    vfio_device_file."device" => vfio_file_device (Maybe),
    vfio_group."dev" => group_device (Maybe),
    vfio_group."opened_file" => group_opened (Maybe),
    vfio_group."device_list" => group_devices (Maybe),
};

impl KernelLayout {
    /// Reads it from the folder of BTF files; takes about 15 ms.
    pub(super) fn read(folder: &Path) -> Result<Self, LayoutError> {
        let kernel_path = folder.join(VMLINUX);
        let kernel = fs::read(&kernel_path).map_err(|error| unreadable(&kernel_path, error))?;
        let kernel = Btf::of_kernel(&kernel).map_err(|error| malformed(&kernel_path, error))?;
        let module_path = folder.join(VFIO);
        match fs::read(&module_path) {
            Ok(module) => {
                let module = Btf::of_module(&module, &kernel).map_err(|error| malformed(&module_path, error))?;
                Self::of(&module)
            }
            // The file is a binary attribute: it vanishes with the module, whole or with EIO or ENODEV.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EIO)) => {
                Self::of(&kernel)
            }
            Err(error) => Err(unreadable(&module_path, error)),
        }
    }

    fn of<'a>(btf: &'a Btf<'a>) -> Result<Self, LayoutError> {
        let names: HashSet<&str> = WANTED.iter().map(|wanted| wanted.structure).collect();
        let structures = btf.structures(&names);
        let has_vfio = structures.has("vfio_device");
        let mut config = Config { group_major: 0, device_major: 0, looking: 0, ..Config::UNKNOWN };
        for wanted in WANTED {
            let needed = match wanted.need {
                Need::Always => true,
                Need::WithVfio => has_vfio,
                Need::Maybe => false,
            };
            match structures.offset(wanted.structure, wanted.member) {
                Some(offset) => *(wanted.place)(&mut config) = offset,
                None if needed => return Err(LayoutError::Missing { member: wanted.name }),
                None => *(wanted.place)(&mut config) = ABSENT,
            }
        }
        let has_device_nodes = structures.offset("vfio_device", "cdev").is_some();
        Ok(Self { config, has_vfio, has_device_nodes })
    }
}

fn unreadable(path: &Path, error: io::Error) -> LayoutError {
    LayoutError::Unreadable { path: path.to_owned(), error }
}

fn malformed(path: &Path, error: BtfError) -> LayoutError {
    LayoutError::Malformed { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::{super::btf::tests::Writer, *};
    use std::collections::BTreeMap;

    #[test]
    fn every_offset_of_the_configuration_is_asked_for() {
        let mut config = Config { group_major: 0, device_major: 0, looking: 0, ..Config::UNKNOWN };
        for wanted in WANTED {
            *(wanted.place)(&mut config) = 7;
        }
        config.each(|name, value| assert_ne!(value, ABSENT, "{name}"));
    }

    /// Describes the structures that are needed, each beginning with eight bytes of something else: a member is at 8, or at 8 in
    /// what is at 8.
    fn describe(btf: &mut Writer, mut next_type: u32, is_there: impl Fn(&Wanted) -> bool) -> u32 {
        let mut members: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for wanted in WANTED.iter().filter(|wanted| is_there(wanted)) {
            members.entry(wanted.structure).or_default().push(wanted.member);
        }
        for (structure, members) in members {
            // Type 1 is the integer.
            let mut outer: BTreeMap<&str, u32> = BTreeMap::new();
            for member in members {
                match member.split_once('.') {
                    None => drop(outer.entry(member).or_insert(1)),
                    Some((first, second)) => {
                        btf.compound(4, "", &[(second, 1, 64)]);
                        outer.insert(first, next_type);
                        next_type += 1;
                    }
                }
            }
            let members: Vec<(&str, u32, u32)> = outer.into_iter().map(|(name, kind)| (name, kind, 64)).collect();
            btf.compound(4, structure, &members);
            next_type += 1;
        }
        next_type
    }

    #[test]
    fn vfio_is_known_whether_it_is_built_in_or_a_module_and_unknown_before_its_module_comes() {
        let is_of_vfio = |wanted: &Wanted| wanted.structure.starts_with("vfio_");
        let folder = tempfile::tempdir().unwrap();
        let (vmlinux, vfio) = (folder.path().join("vmlinux"), folder.path().join("vfio"));

        let mut built_in = Writer::kernel();
        built_in.integer("int");
        describe(&mut built_in, 2, |_| true);
        fs::write(&vmlinux, built_in.bytes()).unwrap();
        let built_in = KernelLayout::read(folder.path()).unwrap();
        assert!(built_in.has_vfio);
        assert_eq!((built_in.config.vfio_count, built_in.config.device_name), (8, 16));

        let mut kernel = Writer::kernel();
        kernel.integer("int");
        let next_type = describe(&mut kernel, 2, |wanted| !is_of_vfio(wanted));
        fs::write(&vmlinux, kernel.bytes()).unwrap();
        let alone = KernelLayout::read(folder.path()).unwrap();
        assert!(!alone.has_vfio);
        assert_eq!(alone.config.vfio_count, ABSENT);

        let mut module = Writer::module(&kernel);
        describe(&mut module, next_type, is_of_vfio);
        fs::write(&vfio, module.bytes()).unwrap();
        assert_eq!(KernelLayout::read(folder.path()).unwrap(), built_in);
    }

    #[test]
    fn a_kernel_without_btf_is_told_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = KernelLayout::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("vmlinux"), "{error}");
        fs::write(folder.path().join("vmlinux"), "no BTF").unwrap();
        let error = KernelLayout::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("vmlinux") && error.contains("no BTF in the byte order"), "{error}");
    }

    #[test]
    fn the_running_kernel_has_what_every_kernel_has() {
        let layout = match KernelLayout::read(Path::new(BTF)) {
            Ok(layout) => layout,
            Err(LayoutError::Unreadable { path, error }) if std::env::var_os("VFIOD_NO_SKIP").is_none() => {
                eprintln!("skipped: {}: {error}", path.display());
                return;
            }
            Err(error) => panic!("{error}"),
        };
        assert_ne!(layout.config.task_start, ABSENT);
    }
}
