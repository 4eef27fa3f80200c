//! The frames of a connection, as far as it takes to find the header blocks (RFC 9113, sections 3.4, 4.1, 6.2 and 6.10).

use super::block::Block;

/// What a client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The bytes of the priority fields: stream dependency and weight.
const PRIORITY_BYTES: u8 = 5;

/// The inbound bytes of one connection, followed frame by frame.
#[derive(Debug)]
pub(super) struct Frames {
    at: At,
    block: Block,
    /// A header block has begun and not ended: only a CONTINUATION may follow.
    open: bool,
    /// Some request of this connection had a path as authority.
    found: bool,
}

/// Where in the connection the next byte is.
#[derive(Debug, Clone, Copy)]
enum At {
    /// In the preface: what is left of it.
    Preface(&'static [u8]),
    /// In the head of a frame: its bytes so far.
    Head { bytes: [u8; HEAD], filled: usize },
    /// In a payload that holds no header block, or after the block in one that does.
    Skipped(u32),
    /// In a payload, before its header block.
    Lead(Payload),
    /// In a header block.
    Fragment(Payload),
    /// Nothing is looked at any more.
    Off,
}

/// What is left of the payload of a HEADERS or CONTINUATION frame.
#[derive(Debug, Clone, Copy)]
struct Payload {
    /// The next byte is the length of the padding.
    padded: bool,
    /// Bytes of priority to come.
    priority: u8,
    /// Bytes of the header block to come; with everything else before the padding is known.
    block: u32,
    padding: u8,
    /// The header block ends with this frame.
    ends: bool,
}

/// Frames whose sense is lost: HTTP/2 itself judges what follows.
#[derive(Debug)]
pub(super) struct Lost;

const NEXT_FRAME: At = At::Head { bytes: [0; HEAD], filled: 0 };

impl Frames {
    pub(super) const fn new() -> Self {
        Self { at: At::Preface(PREFACE), block: Block::new(), open: false, found: false }
    }

    /// Whether [`Self::pass`] may still have something to do.
    pub(super) const fn watching(&self) -> bool {
        !matches!(self.at, At::Off)
    }

    /// Follows the next bytes and exchanges what is no authority in them. True when something was exchanged.
    pub(super) fn pass(&mut self, mut bytes: &mut [u8]) -> bool {
        let mut exchanged = false;
        while !bytes.is_empty() && self.watching() {
            let (now, rest) = bytes.split_at_mut(self.stretch(bytes.len()));
            match self.step(now) {
                Ok(here) => exchanged |= here,
                Err(Lost) => self.at = At::Off,
            }
            bytes = rest;
        }
        exchanged
    }

    /// How many of `available` bytes are of one kind.
    fn stretch(&self, available: usize) -> usize {
        let left = match self.at {
            At::Skipped(left) => left,
            At::Fragment(payload) => payload.block,
            At::Preface(_) | At::Head { .. } | At::Lead(_) | At::Off => 1,
        };
        available.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Takes a stretch of bytes, which is one byte except where many are of one kind.
    fn step(&mut self, bytes: &mut [u8]) -> Result<bool, Lost> {
        let first = bytes.first().copied().ok_or(Lost)?;
        let taken = u32::try_from(bytes.len()).map_err(|_| Lost)?;
        match self.at {
            At::Preface(left) => {
                let left = left.strip_prefix(&[first]).ok_or(Lost)?;
                self.at = if left.is_empty() { NEXT_FRAME } else { At::Preface(left) };
            }
            At::Head { mut bytes, filled } => {
                *bytes.get_mut(filled).ok_or(Lost)? = first;
                self.at = At::Head { bytes, filled: filled + 1 };
                if filled + 1 == HEAD {
                    self.begin(bytes)?;
                }
            }
            At::Skipped(left) => self.skip(left - taken),
            At::Lead(payload) => self.lead(payload.after_lead(first)?)?,
            At::Fragment(mut payload) => {
                let exchanged = self.block.pass(bytes)?;
                self.found |= exchanged;
                payload.block -= taken;
                self.at = At::Fragment(payload);
                if payload.block == 0 {
                    self.end(payload)?;
                }
                return Ok(exchanged);
            }
            At::Off => {}
        }
        Ok(false)
    }

    /// A frame's head is complete.
    fn begin(&mut self, head: [u8; HEAD]) -> Result<(), Lost> {
        let [a, b, c, kind, flags, ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let ends = flags & END_HEADERS != 0;
        match (kind, self.open) {
            (HEADERS, false) => {
                let priority = if flags & PRIORITY == 0 { 0 } else { PRIORITY_BYTES };
                let padded = flags & PADDED != 0;
                (self.open, self.block) = (true, Block::new());
                self.lead(Payload { padded, priority, block: length, padding: 0, ends })
            }
            (CONTINUATION, true) => self.lead(Payload { padded: false, priority: 0, block: length, padding: 0, ends }),
            // Nothing may come between the frames of a header block.
            (CONTINUATION, false) | (_, true) => Err(Lost),
            (_, false) => {
                self.skip(length);
                Ok(())
            }
        }
    }

    fn skip(&mut self, left: u32) {
        self.at = if left == 0 { NEXT_FRAME } else { At::Skipped(left) };
    }

    /// Goes on where the payload begins with what is left of it.
    fn lead(&mut self, mut payload: Payload) -> Result<(), Lost> {
        if payload.padded || payload.priority > 0 {
            self.at = At::Lead(payload);
            return Ok(());
        }
        payload.block = payload.block.checked_sub(u32::from(payload.padding)).ok_or(Lost)?;
        self.at = At::Fragment(payload);
        if payload.block == 0 { self.end(payload) } else { Ok(()) }
    }

    /// What a frame holds of a header block has come.
    fn end(&mut self, payload: Payload) -> Result<(), Lost> {
        self.skip(u32::from(payload.padding));
        if payload.ends {
            self.open = false;
            if !self.block.is_whole() {
                return Err(Lost);
            }
            // A client is of one kind: if its first request was fine, so are the others.
            if !self.found {
                self.at = At::Off;
            }
        }
        Ok(())
    }
}

impl Payload {
    /// What is left after a byte before the header block.
    fn after_lead(mut self, byte: u8) -> Result<Self, Lost> {
        if self.padded {
            (self.padded, self.padding) = (false, byte);
        } else {
            self.priority -= 1;
        }
        self.block = self.block.checked_sub(1).ok_or(Lost)?;
        Ok(self)
    }
}
