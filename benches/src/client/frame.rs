//! HTTP/2 frames (RFC 9113, section 6) over a blocking Unix socket.

use anyhow::{Context, Result, bail};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;

/// The flags END_STREAM (or ACK) and END_HEADERS.
pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// The most of a frame's payload that a receiver takes unless it says otherwise (RFC 9113, section 6.5.2).
pub(super) const MOST: usize = 16_384;
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;

/// Room for what comes in, at first, and once as much has come at a time: a connection on which little comes costs the
/// client little, or what is measured of a kubelet with many plugins would be the client's own memory.
const ROOM: usize = 2 * (MOST + HEAD);
const MUCH_ROOM: usize = 256 << 10;

/// One frame.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'a [u8],
}

/// Appends a frame.
pub(super) fn put(to: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, high, middle, low] = (payload.len() as u32).to_be_bytes();
    to.extend_from_slice(&[high, middle, low, kind, flags]);
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(payload);
}

/// A socket with a buffer for what comes in.
#[derive(Debug)]
pub(super) struct Wire {
    socket: UnixStream,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Wire {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self { socket, buffer: vec![0; ROOM], from: 0, to: 0 }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).context("cannot write to the server")
    }

    pub(super) const fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Whether something was received that has not been looked at.
    pub(super) const fn has_more(&self) -> bool {
        self.from < self.to
    }

    /// Takes this many bytes that are not a frame.
    pub(super) fn skip(&mut self, count: usize) -> Result<()> {
        self.fill(count)?;
        self.from += count;
        Ok(())
    }

    /// The next frame; waits for it.
    pub(super) fn frame(&mut self) -> Result<Frame<'_>> {
        self.fill(HEAD)?;
        let head = self.buffer.get(self.from..self.from + HEAD).context("no head of a frame")?;
        let &[a, b, c, kind, flags, d, e, f, g] = head else { bail!("no head of a frame") };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > MOST {
            bail!("a frame of {length} bytes: more than was allowed");
        }
        let stream = u32::from_be_bytes([d & 0x7f, e, f, g]);
        self.fill(HEAD + length)?;
        let payload = self.from + HEAD..self.from + HEAD + length;
        self.from = payload.end;
        let payload = self.buffer.get(payload).context("no payload")?;
        Ok(Frame { kind, flags, stream, payload })
    }

    fn fill(&mut self, count: usize) -> Result<()> {
        while self.to - self.from < count {
            if self.from == self.to {
                (self.from, self.to) = (0, 0);
            } else if self.buffer.len() - self.from < MOST + HEAD {
                self.buffer.copy_within(self.from..self.to, 0);
                (self.from, self.to) = (0, self.to - self.from);
            }
            let room = self.buffer.get_mut(self.to..).context("no room")?;
            match self.socket.read(room).context("nothing comes from the server")? {
                0 => bail!("the server closed the connection"),
                read => {
                    let filled = read == room.len();
                    self.to += read;
                    if filled && self.buffer.len() < MUCH_ROOM {
                        self.buffer.resize(MUCH_ROOM, 0);
                    }
                }
            }
        }
        Ok(())
    }
}
