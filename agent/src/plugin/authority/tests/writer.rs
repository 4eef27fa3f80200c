//! What a client writes: frames and header blocks, with every liberty that HTTP/2 leaves.

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const CONTINUATION: u8 = 0x9;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// Huffman's code of RFC 7541, appendix B: the characters that have a code of so many bits, and the first of these codes.
const CODES: [(u32, u32, &str); 11] = [
    (5, 0x0, "012aceiost"),
    (6, 0x14, " %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, "&*,;XZ"),
    (10, 0x3f8, "!\"()?"),
    (11, 0x7fa, "'+|"),
    (12, 0xffa, "#>"),
    (13, 0x1ff8, "\0$@[]~"),
    (14, 0x3ffc, "^}"),
    (15, 0x7ffc, "<`{"),
    (19, 0x7fff0, "\\"),
];

/// How the name of a field is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    /// By its place in the static table.
    Static,
    Raw,
    Huffman,
}

/// How a field may be remembered (RFC 7541, section 6.2).
#[derive(Debug, Clone, Copy)]
pub(super) enum Memory {
    Indexed,
    NotIndexed,
    NeverIndexed,
}

/// A request and how its client writes it.
#[derive(Debug, Clone)]
pub(super) struct Request<'a> {
    pub(super) authority: &'a str,
    pub(super) huffman: bool,
    pub(super) name: Name,
    pub(super) memory: Memory,
    /// Other fields, as literals after the authority.
    pub(super) others: Vec<(&'a str, &'a str)>,
    pub(super) padding: Option<u8>,
    pub(super) priority: bool,
    /// Where the header block goes on in the next frame.
    pub(super) cuts: Vec<usize>,
}

impl<'a> Request<'a> {
    pub(super) const fn new(authority: &'a str) -> Self {
        Self {
            authority,
            huffman: false,
            name: Name::Static,
            memory: Memory::Indexed,
            others: Vec::new(),
            padding: None,
            priority: false,
            cuts: Vec::new(),
        }
    }

    pub(super) const fn huffman(mut self) -> Self {
        self.huffman = true;
        self
    }

    pub(super) const fn named(mut self, name: Name) -> Self {
        self.name = name;
        self
    }

    pub(super) fn block(&self) -> Vec<u8> {
        // A smaller dynamic table, POST, http, the service's path with an indexed name, then the authority.
        let mut block = vec![0x3f, 0xe1, 0x0f, 0x83, 0x86, 0x44];
        text("/v1beta1.DevicePlugin/Allocate", self.huffman, &mut block);
        let (mark, bits) = match self.memory {
            Memory::Indexed => (0x40, 6),
            Memory::NotIndexed => (0x00, 4),
            Memory::NeverIndexed => (0x10, 4),
        };
        match self.name {
            Name::Static => integer(1, bits, mark, &mut block),
            Name::Raw | Name::Huffman => {
                block.push(mark);
                text(":authority", matches!(self.name, Name::Huffman), &mut block);
            }
        }
        text(self.authority, self.huffman, &mut block);
        for (name, value) in &self.others {
            block.push(0x40);
            text(name, self.huffman, &mut block);
            text(value, !self.huffman, &mut block);
        }
        block
    }

    pub(super) fn write(&self, stream: u32, out: &mut Vec<u8>) {
        let block = self.block();
        let mut cuts: Vec<usize> = self.cuts.iter().map(|cut| cut % (block.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(block.len());
        let (mut kind, mut from) = (HEADERS, 0);
        for (count, cut) in cuts.iter().enumerate() {
            let mut flags = if count + 1 == cuts.len() { END_HEADERS } else { 0 };
            let (mut payload, mut padding) = (Vec::new(), 0);
            if kind == HEADERS {
                if let Some(length) = self.padding {
                    (flags, padding) = (flags | PADDED, usize::from(length));
                    payload.push(length);
                }
                if self.priority {
                    flags |= PRIORITY;
                    payload.extend(*b"\0\0\0\x2f/");
                }
            }
            payload.extend(&block[from..*cut]);
            payload.resize(payload.len() + padding, b'/');
            frame(kind, flags, stream, &payload, out);
            (kind, from) = (CONTINUATION, *cut);
        }
    }
}

/// The preface and empty settings.
pub(super) fn opening() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(SETTINGS, 0, 0, &[], &mut bytes);
    bytes
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

/// A string (RFC 7541, section 5.2).
pub(super) fn text(text: &str, huffman: bool, out: &mut Vec<u8>) {
    let bytes = if huffman { in_huffman(text) } else { text.as_bytes().to_vec() };
    integer(bytes.len(), 7, if huffman { 0x80 } else { 0 }, out);
    out.extend(bytes);
}

/// An integer (RFC 7541, section 5.1).
pub(super) fn integer(value: usize, bits: u32, mark: u8, out: &mut Vec<u8>) {
    let full = (1_usize << bits) - 1;
    if value < full {
        out.push(mark | u8::try_from(value).unwrap());
        return;
    }
    out.push(mark | u8::try_from(full).unwrap());
    let mut rest = value - full;
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap());
}

pub(super) fn in_huffman(text: &str) -> Vec<u8> {
    let (mut out, mut held, mut bits) = (Vec::new(), 0_u64, 0);
    for character in text.chars() {
        let (length, code) = CODES
            .iter()
            .find_map(|(length, first, characters)| {
                let place = characters.chars().position(|known| known == character)?;
                Some((*length, first + u32::try_from(place).unwrap()))
            })
            .unwrap_or_else(|| panic!("{character:?} is not in this table"));
        held = (held << length) | u64::from(code);
        bits += length;
        while bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        let fill = 8 - bits;
        out.push(((held << fill) | ((1 << fill) - 1)) as u8);
    }
    out
}

#[test]
fn the_writer_knows_huffmans_code() {
    // RFC 7541, C.4.1 and C.4.3.
    assert_eq!(in_huffman("www.example.com"), [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]);
    assert_eq!(in_huffman("custom-value"), [0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf]);
}
