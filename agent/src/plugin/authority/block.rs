//! A header block, followed field by field to the value of `:authority` (RFC 7541, sections 5 and 6).
//!
//! The dynamic table is not kept: a field that stands in it whole was seen, and put right, when it was put there. The
//! name alone is not taken from there by any encoder, because `:authority` stands first in the static table.

use super::{frames::Lost, text::Text};

/// `:authority` in the static table (RFC 7541, appendix A).
const AUTHORITY: u32 = 1;
const NAME: &[u8] = b":authority";
/// The same in Huffman's code.
const NAME_IN_HUFFMAN: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];
/// The highest shift of an integer's continuation that the h2 crate takes (`decode_int`: five bytes in all).
const LAST_SHIFT: u32 = 21;

/// Where in a header block the next byte is.
#[derive(Debug)]
pub(super) struct Block {
    part: Part,
}

#[derive(Debug)]
enum Part {
    /// At the beginning of a field.
    Field,
    /// In an integer that did not fit into its first byte.
    Number { of: Number, value: u32, shift: u32 },
    /// At the length of a name.
    NameLength,
    /// In a name: what is left of the name that is looked for, unless it is another one.
    Name { left: u32, awaited: Option<&'static [u8]> },
    /// At the length of a value.
    ValueLength { authority: bool },
    /// In a value.
    Value { left: u32, text: Option<Text> },
}

/// What an integer says.
#[derive(Debug, Clone, Copy)]
enum Number {
    /// A field of the tables, or the size of the dynamic one.
    Whole,
    /// A name of the tables; 0 where it is spelled out.
    Name,
    NameLength {
        huffman: bool,
    },
    ValueLength {
        authority: bool,
        huffman: bool,
    },
}

impl Block {
    pub(super) const fn new() -> Self {
        Self { part: Part::Field }
    }

    /// Whether the block may end here.
    pub(super) const fn is_whole(&self) -> bool {
        matches!(self.part, Part::Field)
    }

    /// Follows the next bytes and exchanges what is no authority. True when something was exchanged.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) -> Result<bool, Lost> {
        let mut exchanged = false;
        for byte in bytes {
            exchanged |= self.step(byte)?;
        }
        Ok(exchanged)
    }

    fn step(&mut self, byte: &mut u8) -> Result<bool, Lost> {
        let mut exchanged = false;
        self.part = match &mut self.part {
            Part::Field => match *byte {
                0x80.. => number(*byte, 7, Number::Whole),
                0x40.. => number(*byte, 6, Number::Name),
                0x20.. => number(*byte, 5, Number::Whole),
                _ => number(*byte, 4, Number::Name),
            },
            Part::Number { of, value, shift } => {
                let value = *value + (u32::from(*byte & 0x7f) << *shift);
                match *byte {
                    0x80.. if *shift >= LAST_SHIFT => return Err(Lost),
                    0x80.. => Part::Number { of: *of, value, shift: *shift + 7 },
                    _ => of.is(value),
                }
            }
            Part::NameLength => number(*byte, 7, Number::NameLength { huffman: *byte & 0x80 != 0 }),
            Part::ValueLength { authority } => {
                number(*byte, 7, Number::ValueLength { authority: *authority, huffman: *byte & 0x80 != 0 })
            }
            Part::Name { left, awaited } => {
                let awaited = awaited.and_then(|name| name.strip_prefix(&[*byte]));
                match *left {
                    1 => Part::ValueLength { authority: awaited.is_some_and(<[u8]>::is_empty) },
                    left => Part::Name { left: left - 1, awaited },
                }
            }
            Part::Value { left, text } => {
                if let Some(text) = text {
                    exchanged = text.pass(byte);
                }
                *left -= 1;
                if *left > 0 {
                    return Ok(exchanged);
                }
                Part::Field
            }
        };
        Ok(exchanged)
    }
}

/// The first byte of an integer, of which the lowest `bits` count.
const fn number(byte: u8, bits: u32, of: Number) -> Part {
    let full = (1 << bits) - 1;
    let value = byte as u32 & full;
    if value < full { of.is(value) } else { Part::Number { of, value, shift: 0 } }
}

impl Number {
    /// What comes next when the integer is known.
    const fn is(self, value: u32) -> Part {
        match (self, value) {
            (Self::Whole, _) | (Self::ValueLength { .. }, 0) => Part::Field,
            (Self::Name, 0) => Part::NameLength,
            (Self::Name, index) => Part::ValueLength { authority: index == AUTHORITY },
            (Self::NameLength { .. }, 0) => Part::ValueLength { authority: false },
            (Self::NameLength { huffman }, left) => {
                Part::Name { left, awaited: Some(if huffman { NAME_IN_HUFFMAN } else { NAME }) }
            }
            (Self::ValueLength { authority, huffman }, left) => {
                Part::Value { left, text: if authority { Some(Text::new(huffman)) } else { None } }
            }
        }
    }
}
