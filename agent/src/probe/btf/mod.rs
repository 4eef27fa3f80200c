//! The kernel's description of its own types (BTF), as far as the probe needs it: where a member is in its structure.
//!
//! The format: `Documentation/bpf/btf.rst` of the kernel. `/sys/kernel/btf/vmlinux` describes the kernel itself; a
//! module's file there is *split*: its types and strings go on numbering where the kernel's end.
//!
//! Nothing in the bytes is trusted: whatever they say, reading them ends and gives an offset or an error.

mod format;

use format::{Cursor, Kind, Layout, Record};
use std::collections::{HashMap, HashSet};

/// How deep types may refer to types until a description is taken to be wrong: the kernel's are less than ten deep.
const DEEPEST: u32 = 32;

/// Why bytes are no BTF.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// They do not begin as BTF begins.
    #[error("this is no BTF in the byte order of this machine")]
    NotBtf,
    /// They end too early, or sections overlap their end.
    #[error("its {0} reach beyond its end")]
    Truncated(&'static str),
    /// A kind of type that is newer than this reader, whose length is unknown.
    #[error("type {id} is of kind {kind}, which is unknown")]
    UnknownKind {
        /// The number of the type.
        id: u32,
        /// Its kind.
        kind: u32,
    },
}

/// The types of the kernel, or of one module on top of them.
#[derive(Debug)]
pub struct Btf<'a> {
    base: Option<&'a Btf<'a>>,
    layout: Layout<'a>,
    /// Where each type begins in the section of types; the first is type `first`.
    places: Vec<u32>,
    /// The structures that have a name: where it is among the strings, and the type.
    structures: Vec<(u32, u32)>,
    first: u32,
    strings_before: u32,
}

impl<'a> Btf<'a> {
    /// Reads the kernel's own types.
    ///
    /// # Errors
    /// When the bytes are no BTF.
    pub fn of_kernel(bytes: &'a [u8]) -> Result<Self, BtfError> {
        Self::read(bytes, None)
    }

    /// Reads a module's types, which refer to those of the kernel.
    ///
    /// # Errors
    /// As [`Self::of_kernel`].
    pub fn of_module(bytes: &'a [u8], kernel: &'a Self) -> Result<Self, BtfError> {
        Self::read(bytes, Some(kernel))
    }

    fn read(bytes: &'a [u8], base: Option<&'a Self>) -> Result<Self, BtfError> {
        let layout = Layout::read(bytes)?;
        // Type 0 is `void` and is not written down.
        let first = base.map_or(1, Self::end);
        let strings_before = base.map_or(0, |base| base.strings_before.saturating_add(base.layout.strings_length()));
        let (mut places, mut structures) = (Vec::new(), Vec::new());
        let mut cursor = Cursor::new(layout.types);
        let mut id = first;
        while !cursor.is_at_end() {
            places.push(cursor.place());
            let name = cursor.skip_record(id)?;
            structures.extend(name.map(|name| (name, id)));
            id = id.saturating_add(1);
        }
        Ok(Self { base, layout, places, structures, first, strings_before })
    }

    /// The number after the last type.
    fn end(&self) -> u32 {
        self.first.saturating_add(u32::try_from(self.places.len()).unwrap_or(u32::MAX))
    }

    fn record(&self, id: u32) -> Option<Record<'a>> {
        match id.checked_sub(self.first) {
            Some(index) => {
                let place = self.places.get(usize::try_from(index).ok()?)?;
                Cursor::at(self.layout.types, *place)?.record()
            }
            None => self.base?.record(id),
        }
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        match offset.checked_sub(self.strings_before) {
            Some(offset) => self.layout.string(offset),
            None => self.base?.string(offset),
        }
    }

    /// Finds the structures of these names. A name may belong to several.
    #[must_use]
    pub fn structures<'n>(&'a self, names: &HashSet<&'n str>) -> Structures<'a, 'n> {
        let names: HashMap<&[u8], &'n str> = names.iter().map(|name| (name.as_bytes(), *name)).collect();
        let mut found: HashMap<&'n str, Vec<u32>> = HashMap::new();
        let mut here = Some(self);
        while let Some(btf) = here {
            for (name, id) in &btf.structures {
                if let Some(name) = btf.string(*name).and_then(|name| names.get(name)) {
                    found.entry(name).or_default().push(*id);
                }
            }
            here = btf.base;
        }
        Structures { btf: self, found }
    }

    /// The offset in bits of the member at `path` (`f_path.dentry`) of type `id`. Members of a structure or union without
    /// a name count as the outer one's, as in C.
    fn offset(&self, id: u32, path: &[&str], depth: u32) -> Option<u32> {
        let (first, rest) = path.split_first()?;
        let record = self.record(self.behind_names(id)?)?;
        if !matches!(record.kind, Kind::Structure | Kind::Union) || depth > DEEPEST {
            return None;
        }
        for member in record.members() {
            let name = self.string(member.name)?;
            let inside = if name.is_empty() {
                self.offset(member.type_id, path, depth + 1)
            } else if name == first.as_bytes() {
                match rest {
                    [] => Some(0),
                    rest => self.offset(member.type_id, rest, depth + 1),
                }
            } else {
                None
            };
            if let Some(inside) = inside {
                return member.bit_offset?.checked_add(inside);
            }
        }
        None
    }

    /// The type behind `typedef`, `const` and their like.
    fn behind_names(&self, mut id: u32) -> Option<u32> {
        for _ in 0..DEEPEST {
            match self.record(id)? {
                Record { kind: Kind::Alias, refers_to, .. } => id = refers_to,
                _ => return Some(id),
            }
        }
        None
    }
}

/// Structures that were found by their names.
#[derive(Debug)]
pub struct Structures<'a, 'n> {
    btf: &'a Btf<'a>,
    found: HashMap<&'n str, Vec<u32>>,
}

impl Structures<'_, '_> {
    /// Whether there is a structure of this name.
    #[must_use]
    pub fn has(&self, structure: &str) -> bool {
        self.found.contains_key(structure)
    }

    /// The offset in bytes of a member, such as `device` and `kobj.name`; `None` where the structure or the member does
    /// not exist, or the member does not begin at a byte.
    #[must_use]
    pub fn offset(&self, structure: &str, member: &str) -> Option<u32> {
        let path: Vec<&str> = member.split('.').collect();
        let bits = self.found.get(structure)?.iter().find_map(|id| self.btf.offset(*id, &path, 0))?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }
}

#[cfg(test)]
pub(in crate::probe) mod tests;
