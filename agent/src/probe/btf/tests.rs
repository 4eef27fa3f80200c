//! BTF that is made here, whole and broken, and the running kernel's own.

use super::*;
use proptest::prelude::*;

/// Writes BTF.
#[derive(Default)]
pub(in crate::probe) struct Writer {
    types: Vec<u32>,
    strings: Vec<u8>,
    strings_before: u32,
}

const STRUCT: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;
const CONST: u32 = 10;

impl Writer {
    pub(in crate::probe) fn kernel() -> Self {
        Self { types: Vec::new(), strings: vec![0], strings_before: 0 }
    }

    /// A module's strings begin where the kernel's end, without an empty one.
    pub(in crate::probe) fn module(kernel: &Self) -> Self {
        Self { strings_before: kernel.strings.len() as u32, ..Self::default() }
    }

    fn name(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings_before + self.strings.len() as u32;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        at
    }

    pub(in crate::probe) fn integer(&mut self, name: &str) {
        let name = self.name(name);
        self.types.extend([name, 1 << 24, 4, 32]);
    }

    fn alias(&mut self, kind: u32, name: &str, of: u32) {
        let name = self.name(name);
        self.types.extend([name, kind << 24, of]);
    }

    pub(in crate::probe) fn compound(&mut self, kind: u32, name: &str, members: &[(&str, u32, u32)]) {
        let name = self.name(name);
        self.types.extend([name, kind << 24 | members.len() as u32, 0]);
        for (member, type_id, bits) in members {
            let member = self.name(member);
            self.types.extend([member, *type_id, *bits]);
        }
    }

    pub(in crate::probe) fn bytes(&self) -> Vec<u8> {
        let types: Vec<u8> = self.types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut bytes = Vec::new();
        bytes.extend(0xeb9f_u16.to_ne_bytes());
        bytes.extend([1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, self.strings.len() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(&self.strings);
        bytes
    }
}

/// 1 `int`; 2 `struct kobject { name @64 }`; 3 `struct device { kobj @128 }`; 4 an unnamed union `{ rdev @0, other @0 }`;
/// 5 `struct inode { (4) @32, cdev @96 }`; 6 `typedef struct kobject kobject_t`; 7 `const kobject_t`;
/// 8 `struct holder { kept (7) @8 }`.
fn kernel() -> Writer {
    let mut btf = Writer::kernel();
    btf.integer("int");
    btf.compound(STRUCT, "kobject", &[("name", 1, 64)]);
    btf.compound(STRUCT, "device", &[("kobj", 2, 128)]);
    btf.compound(UNION, "", &[("rdev", 1, 0), ("other", 1, 0)]);
    btf.compound(STRUCT, "inode", &[("", 4, 32), ("cdev", 1, 96)]);
    btf.alias(TYPEDEF, "kobject_t", 2);
    btf.alias(CONST, "", 6);
    btf.compound(STRUCT, "holder", &[("kept", 7, 8)]);
    btf
}

fn offsets(btf: &Btf<'_>, wanted: &[(&str, &str)]) -> Vec<Option<u32>> {
    let names = wanted.iter().map(|(structure, _)| *structure).collect();
    let structures = btf.structures(&names);
    wanted.iter().map(|(structure, member)| structures.offset(structure, member)).collect()
}

#[test]
fn members_are_found_through_structures_unnamed_unions_and_other_names() {
    let bytes = kernel().bytes();
    let btf = Btf::of_kernel(&bytes).unwrap();
    let found = offsets(
        &btf,
        &[("device", "kobj.name"), ("inode", "other"), ("inode", "cdev"), ("holder", "kept.name"), ("device", "kobj")],
    );
    assert_eq!(found, [Some(24), Some(4), Some(12), Some(9), Some(16)]);
}

#[test]
fn what_this_kernel_does_not_have_is_none() {
    let bytes = kernel().bytes();
    let btf = Btf::of_kernel(&bytes).unwrap();
    let found = offsets(&btf, &[("device", "gone"), ("gone", "kobj"), ("inode", "rdev.x"), ("device", "")]);
    assert_eq!(found, [None; 4]);
}

#[test]
fn a_module_goes_on_where_the_kernel_ends() {
    let kernel = kernel();
    let mut module = Writer::module(&kernel);
    // Type 9, on top of the kernel's types and with one of its strings.
    module.compound(STRUCT, "vfio_group", &[("dev", 3, 320), ("opened_file", 1, 640)]);
    let (kernel, module) = (kernel.bytes(), module.bytes());
    let kernel = Btf::of_kernel(&kernel).unwrap();
    let module = Btf::of_module(&module, &kernel).unwrap();
    let found = offsets(&module, &[("vfio_group", "dev.kobj.name"), ("vfio_group", "opened_file"), ("device", "kobj")]);
    assert_eq!(found, [Some(64), Some(80), Some(16)]);
}

#[test]
fn a_bit_field_has_no_address() {
    let mut btf = Writer::kernel();
    btf.integer("int");
    btf.compound(STRUCT, "flags", &[("first", 1, 1 << 24 | 3), ("plain", 1, 64)]);
    let info = btf.types.len() - 3 * 2 - 2;
    btf.types[info] |= 1 << 31;
    let bytes = btf.bytes();
    let btf = Btf::of_kernel(&bytes).unwrap();
    assert_eq!(offsets(&btf, &[("flags", "first"), ("flags", "plain")]), [None, Some(8)]);
}

#[test]
fn types_that_refer_to_themselves_come_to_an_end() {
    let mut btf = Writer::kernel();
    btf.alias(TYPEDEF, "a", 2);
    btf.alias(TYPEDEF, "b", 1);
    btf.compound(STRUCT, "s", &[("x", 1, 0), ("", 3, 0)]);
    let bytes = btf.bytes();
    let btf = Btf::of_kernel(&bytes).unwrap();
    assert_eq!(offsets(&btf, &[("s", "x.y"), ("s", "z")]), [None, None]);
}

#[test]
fn bytes_that_are_no_btf_are_refused_with_the_reason() {
    assert_eq!(Btf::of_kernel(b"").unwrap_err(), BtfError::NotBtf);
    assert_eq!(Btf::of_kernel(b"\x7fELF and more").unwrap_err(), BtfError::NotBtf);
    let mut unknown = kernel();
    unknown.types.extend([0, 31 << 24, 0]);
    assert_eq!(Btf::of_kernel(&unknown.bytes()).unwrap_err(), BtfError::UnknownKind { id: 9, kind: 31 });
    let whole = kernel().bytes();
    assert!(Btf::of_kernel(&whole[..whole.len() - 1]).is_err());
}

#[test]
fn the_running_kernel_describes_a_file() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        assert!(std::env::var_os("VFIOD_NO_SKIP").is_none(), "this kernel has no BTF");
        eprintln!("skipped: this kernel has no /sys/kernel/btf/vmlinux");
        return;
    };
    let btf = Btf::of_kernel(&bytes).unwrap();
    let found = offsets(&btf, &[("file", "f_path.dentry"), ("dentry", "d_name.name"), ("task_struct", "tgid")]);
    assert!(found.iter().all(Option::is_some), "{found:?}");
}

/// Every question that the probe asks, of any bytes.
fn ask(bytes: &[u8], module: &[u8]) {
    let wanted = [("device", "kobj.name"), ("inode", "other"), ("holder", "kept.name"), ("vfio_group", "dev.kobj")];
    if let Ok(btf) = Btf::of_kernel(bytes) {
        offsets(&btf, &wanted);
        if let Ok(module) = Btf::of_module(module, &btf) {
            offsets(&module, &wanted);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), whole in any::<bool>()) {
        let mut all = kernel().bytes()[..if whole { 24 } else { 4 }].to_vec();
        all.extend(bytes);
        ask(&all, &all);
    }

    #[test]
    fn changed_and_shortened_btf_is_survived(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        end in any::<prop::sample::Index>(),
        shorten in any::<bool>(),
    ) {
        let mut bytes = kernel().bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if shorten {
            bytes.truncate(end.index(bytes.len()));
        }
        ask(&bytes, &bytes);
        ask(&kernel().bytes(), &bytes);
    }
}
