//! The characters of a path that no authority has, exchanged for such as every authority may have.
//!
//! | found | instead | Huffman's codes (RFC 7541, appendix B) |
//! |---|---|---|
//! | `/` | `3` | `011000`, `011001` |
//! | `%` | `.` | `010101`, `010111` |
//! | blank | `-` | `010100`, `010110` |
//!
//! Only one valid authority has any of them: the `%` of an address in brackets with its zone, `[fe80::1%25eth0]`, which is
//! left alone. (The user of `user%20name@host` must not be sent, RFC 9113, section 8.3.1, and stays valid when exchanged.)
//!
//! The codes differ in one bit, which is decided when it comes: the sixth of `/`; the fifth of the others, since no other
//! code begins with `01010`. So a byte never has to wait for the next one.

/// How many characters have a code of each length, from 0 to 30 bits: Huffman's code is canonical, so this is all that it
/// takes to find where each one ends.
const CODES: [u32; 31] =
    [0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4];
/// Among the codes of five bits and what comes after them: the beginning of blank and `%`.
const BLANK_OR_PERCENT: u32 = 10;
/// Among the codes of six bits: `/`.
const SLASH: u32 = 4;
/// Among the codes of thirteen bits: `[`.
const BRACKET: u32 = 3;

/// A value of `:authority`, as far as it has come.
#[derive(Debug)]
pub(super) struct Text {
    kind: Kind,
    huffman: Option<Code>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing has come yet.
    Open,
    /// An IP address in brackets, where `%` begins the zone.
    Brackets,
    Other,
}

/// A character of Huffman's code, as far as it has come.
#[derive(Debug, Clone, Copy)]
struct Code {
    bits: usize,
    /// Its value above the lowest one of its length.
    rank: u32,
}

const NEXT_CODE: Code = Code { bits: 0, rank: 0 };

impl Text {
    pub(super) const fn new(huffman: bool) -> Self {
        Self { kind: Kind::Open, huffman: if huffman { Some(NEXT_CODE) } else { None } }
    }

    /// Looks at the next byte. True when something was exchanged in it.
    pub(super) fn pass(&mut self, byte: &mut u8) -> bool {
        let before = *byte;
        match self.huffman {
            Some(mut code) => {
                for bit in [0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01] {
                    self.follow(&mut code, byte, bit);
                }
                self.huffman = Some(code);
            }
            None => self.exchange(byte),
        }
        *byte != before
    }

    fn exchange(&mut self, byte: &mut u8) {
        let instead = match *byte {
            b'/' => b'3',
            b'%' if self.kind != Kind::Brackets => b'.',
            b' ' if self.kind != Kind::Brackets => b'-',
            same => same,
        };
        self.begins(*byte == b'[');
        *byte = instead;
    }

    /// Takes one more bit of a character.
    fn follow(&mut self, code: &mut Code, byte: &mut u8, bit: u8) {
        code.bits += 1;
        code.rank = (code.rank << 1) | u32::from(*byte & bit != 0);
        let exchanged = match (code.bits, code.rank) {
            (5, BLANK_OR_PERCENT) => self.kind != Kind::Brackets,
            (6, SLASH) => true,
            _ => false,
        };
        if exchanged {
            *byte |= bit;
            code.rank |= 1;
        }
        let of_this_length = CODES.get(code.bits).copied().unwrap_or(u32::MAX);
        if code.rank >= of_this_length {
            code.rank -= of_this_length;
            return;
        }
        self.begins((code.bits, code.rank) == (13, BRACKET));
        *code = NEXT_CODE;
    }

    /// A character is known, which may be the first.
    fn begins(&mut self, bracket: bool) {
        if self.kind == Kind::Open {
            self.kind = if bracket { Kind::Brackets } else { Kind::Other };
        }
    }
}
