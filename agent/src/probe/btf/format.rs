//! BTF's bytes (kernel: `include/uapi/linux/btf.h`).

use super::BtfError;

const MAGIC: u16 = 0xeb9f;
/// `struct btf_header` up to its last member that is needed.
const HEADER: usize = 24;
/// `struct btf_type`.
const RECORD: usize = 12;
/// `struct btf_member`.
const MEMBER: usize = 12;

/// The two sections.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub(super) types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Layout<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let magic = bytes.get(..2).and_then(|magic| magic.try_into().ok()).map(u16::from_ne_bytes);
        if magic != Some(MAGIC) {
            return Err(BtfError::NotBtf);
        }
        let header = Cursor::new(bytes);
        let word = |at| header.word(at).ok_or(BtfError::Truncated("header"));
        let header_length = word(4)?;
        if (header_length as usize) < HEADER {
            return Err(BtfError::Truncated("header"));
        }
        let section = |offset: u32, length: u32, what| {
            let begin = header_length.checked_add(offset).ok_or(BtfError::Truncated(what))?;
            let end = begin.checked_add(length).ok_or(BtfError::Truncated(what))?;
            bytes.get(begin as usize..end as usize).ok_or(BtfError::Truncated(what))
        };
        Ok(Self { types: section(word(8)?, word(12)?, "types")?, strings: section(word(16)?, word(20)?, "strings")? })
    }

    pub(super) fn strings_length(&self) -> u32 {
        u32::try_from(self.strings.len()).unwrap_or(u32::MAX)
    }

    /// The text at `offset`, without the zero byte that ends it.
    pub(super) fn string(&self, offset: u32) -> Option<&'a [u8]> {
        self.strings.get(offset as usize..)?.split(|byte| *byte == 0).next()
    }
}

/// What a type is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Structure,
    Union,
    /// `typedef`, `volatile`, `const`, `restrict`, `type_tag`: another type by another name.
    Alias,
    Other,
}

/// One type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) kind: Kind,
    /// The type that an alias stands for.
    pub(super) refers_to: u32,
    /// Whether members carry the width of a bit-field beside their offset.
    wide: bool,
    members: &'a [u8],
}

/// A member of a structure or a union.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: u32,
    pub(super) type_id: u32,
    /// `None` for a bit-field: it has no address.
    pub(super) bit_offset: Option<u32>,
}

impl Record<'_> {
    pub(super) fn members(&self) -> impl Iterator<Item = Member> {
        let wide = self.wide;
        self.members.chunks_exact(MEMBER).filter_map(move |bytes| {
            let member = Cursor::new(bytes);
            let offset = member.word(8)?;
            let bit_offset = match (wide, offset >> 24) {
                (true, 0) => Some(offset & 0x00ff_ffff),
                (true, _) => None,
                (false, _) => Some(offset),
            };
            Some(Member { name: member.word(0)?, type_id: member.word(4)?, bit_offset })
        })
    }
}

/// A place in the section of types.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    place: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, place: 0 }
    }

    pub(super) fn at(bytes: &'a [u8], place: u32) -> Option<Self> {
        let place = usize::try_from(place).ok()?;
        (place <= bytes.len()).then_some(Self { bytes, place })
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.place >= self.bytes.len()
    }

    pub(super) fn place(&self) -> u32 {
        u32::try_from(self.place).unwrap_or(u32::MAX)
    }

    /// The word `offset` bytes from here.
    fn word(&self, offset: usize) -> Option<u32> {
        let begin = self.place.checked_add(offset)?;
        let bytes = self.bytes.get(begin..begin.checked_add(4)?)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    }

    fn info(&self) -> Option<(u32, usize, bool)> {
        let info = self.word(4)?;
        Some(((info >> 24) & 0x1f, (info & 0xffff) as usize, info >> 31 == 1))
    }

    /// Goes on behind the type that is here. Gives its name if it is a structure with one.
    pub(super) fn skip_record(&mut self, id: u32) -> Result<Option<u32>, BtfError> {
        let (kind, count, _) = self.info().ok_or(BtfError::Truncated("types"))?;
        let name = if kind == 4 { self.word(0).filter(|name| *name != 0) } else { None };
        let behind = match kind {
            // pointer, forward, typedef, volatile, const, restrict, function, float, type tag
            2 | 7 | 8 | 9 | 10 | 11 | 12 | 16 | 18 => 0,
            // integer, variable, declaration tag
            1 | 14 | 17 => 4,
            // array
            3 => 12,
            // structure, union, section of variables, 64-bit enumeration
            4 | 5 | 15 | 19 => 12 * count,
            // enumeration, prototype
            6 | 13 => 8 * count,
            kind => return Err(BtfError::UnknownKind { id, kind }),
        };
        self.place = self.place.saturating_add(RECORD + behind);
        if self.place > self.bytes.len() { Err(BtfError::Truncated("types")) } else { Ok(name) }
    }

    /// The type that is here.
    pub(super) fn record(&self) -> Option<Record<'a>> {
        let (kind, count, wide) = self.info()?;
        let kind = match kind {
            4 => Kind::Structure,
            5 => Kind::Union,
            8 | 9 | 10 | 11 | 18 => Kind::Alias,
            _ => Kind::Other,
        };
        let members = match kind {
            Kind::Structure | Kind::Union => {
                let begin = self.place.checked_add(RECORD)?;
                self.bytes.get(begin..begin.checked_add(MEMBER.checked_mul(count)?)?)?
            }
            Kind::Alias | Kind::Other => &[],
        };
        Some(Record { kind, refers_to: self.word(8)?, wide, members })
    }
}
