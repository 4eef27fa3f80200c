//! A gRPC client that costs as little as can be: HTTP/2 by hand on one blocking socket, no threads, no copies but of the
//! list. What is measured through it is the server.
//!
//! One connection carries everything, as with a kubelet: the stream of `ListAndWatch` and the calls beside it.

mod frame;
mod hpack;
mod server;

use anyhow::{Context, Result, bail};
use frame::{ACK, END_HEADERS, END_STREAM, MOST, PREFACE, Wire, put};
use hpack::Headers;
pub use server::{Registration, receive_registration};
use std::{os::unix::net::UnixStream, path::Path, time::Duration};

/// The methods of a device plugin.
pub const OPTIONS: &str = "/v1beta1.DevicePlugin/GetDevicePluginOptions";
/// The list and its changes.
pub const LIST_AND_WATCH: &str = "/v1beta1.DevicePlugin/ListAndWatch";
/// Devices for a container.
pub const ALLOCATE: &str = "/v1beta1.DevicePlugin/Allocate";
/// Advice.
pub const PREFERRED: &str = "/v1beta1.DevicePlugin/GetPreferredAllocation";

/// A server that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// The windows that are opened: grpc-go's grow up to 16 MiB with the traffic; here none ever closes.
const WINDOW: u32 = 0x7fff_ffff;
/// What is received before the window is opened again.
const REOPEN: usize = 64 << 20;
/// The head of a gRPC message: not compressed, and its length.
const MESSAGE_HEAD: usize = 5;

/// A connection to a plugin.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    headers: Headers,
    next_stream: u32,
    /// What the server may still be sent on the connection, and on each new stream.
    send_window: usize,
    stream_window: usize,
    received: usize,
    watch: Option<Watch>,
}

/// The stream of `ListAndWatch`.
#[derive(Debug)]
struct Watch {
    stream: u32,
    /// Bytes of the message that is being received.
    partial: Vec<u8>,
    /// The newest whole message, with its head.
    list: Vec<u8>,
    messages: usize,
    bytes: usize,
    /// Bytes since its window was opened last: wider than it was at first no window may become (RFC 9113, section 6.9.1).
    received: usize,
}

/// What a frame meant.
enum Step {
    /// Nothing for the caller.
    Other,
    /// A whole list has come.
    List,
    /// Bytes of an answer.
    Data { stream: u32, from: usize },
    /// An answer has ended.
    End { stream: u32 },
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(path: &Path) -> Result<Self> {
        let socket = UnixStream::connect(path).with_context(|| format!("cannot connect to {}", path.display()))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut hello = PREFACE.to_vec();
        let [a, b, c, d] = WINDOW.to_be_bytes();
        put(&mut hello, frame::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 0, 0, 4, a, b, c, d]); // no push; initial window
        put(&mut hello, frame::WINDOW_UPDATE, 0, 0, &(WINDOW - 65_535).to_be_bytes());
        let mut wire = Wire::new(socket);
        wire.write(&hello)?;
        let headers = Headers::default();
        let (send_window, stream_window) = (65_535, 65_535);
        Ok(Self { wire, headers, next_stream: 1, send_window, stream_window, received: 0, watch: None })
    }

    /// Opens the stream of `ListAndWatch`.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn watch(&mut self) -> Result<()> {
        let stream = self.send(LIST_AND_WATCH, &[])?;
        self.watch = Some(Watch { stream, partial: Vec::new(), list: Vec::new(), messages: 0, bytes: 0, received: 0 });
        Ok(())
    }

    /// Waits for the next list; returns its bytes.
    ///
    /// # Errors
    /// When the server is gone or says nothing for 20 s.
    pub fn next_list(&mut self) -> Result<&[u8]> {
        loop {
            if let Step::List = self.step(&mut Vec::new())? {
                return Ok(self.list());
            }
        }
    }

    /// Whether a list comes within `time`.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn list_within(&mut self, time: Duration) -> Result<bool> {
        if !self.wire.has_more() {
            let mut fds = [rustix::event::PollFd::new(self.wire.socket(), rustix::event::PollFlags::IN)];
            let time = rustix::time::Timespec::try_from(time).context("a time too long")?;
            if rustix::event::poll(&mut fds, Some(&time))? == 0 {
                return Ok(false);
            }
        }
        Ok(matches!(self.step(&mut Vec::new())?, Step::List))
    }

    /// The newest list, as it came.
    pub fn list(&self) -> &[u8] {
        self.watch.as_ref().and_then(|watch| watch.list.get(MESSAGE_HEAD..)).unwrap_or_default()
    }

    /// How many lists came, and their bytes.
    pub fn lists_seen(&self) -> (usize, usize) {
        self.watch.as_ref().map_or((0, 0), |watch| (watch.messages, watch.bytes))
    }

    /// Calls and waits for the answer.
    ///
    /// # Errors
    /// When the server refuses or is gone.
    pub fn call(&mut self, path: &'static str, message: &[u8]) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        self.call_into(path, message, &mut answer)?;
        Ok(answer.split_off(MESSAGE_HEAD))
    }

    /// Calls and waits for the answer, which comes with the 5 bytes of its head.
    ///
    /// # Errors
    /// When the server refuses or is gone.
    pub fn call_into(&mut self, path: &'static str, message: &[u8], answer: &mut Vec<u8>) -> Result<()> {
        answer.clear();
        let call = self.send(path, message)?;
        loop {
            match self.step(answer)? {
                // Bytes of another call that was given up.
                Step::Data { stream, from } if stream != call => answer.truncate(from),
                Step::End { stream } if stream == call => break,
                _ => {}
            }
        }
        if answer.len() < MESSAGE_HEAD {
            bail!("{path} was refused");
        }
        Ok(())
    }

    /// Makes `count` calls, `callers` of them at any time, and waits for all answers. `message` gives each its request.
    ///
    /// # Errors
    /// When the server refuses one or is gone.
    pub fn crowd<'a>(
        &mut self,
        path: &'static str,
        callers: usize,
        count: usize,
        mut message: impl FnMut(usize) -> &'a [u8],
    ) -> Result<()> {
        let (mut sent, mut ended, mut answered) = (0, 0, 0);
        let mut answer = Vec::new();
        let mut out = Vec::new();
        while ended < count {
            while sent < count && sent - ended < callers {
                self.put_call(&mut out, path, message(sent))?;
                sent += 1;
            }
            if !out.is_empty() {
                self.wire.write(&out)?;
                out.clear();
            }
            // What has come is taken whole before anything new is sent, as 64 goroutines on one connection do.
            loop {
                match self.step(&mut answer)? {
                    Step::Data { .. } => {
                        answered += usize::from(answer.len() >= MESSAGE_HEAD);
                        answer.clear();
                    }
                    Step::End { .. } => ended += 1,
                    Step::Other | Step::List => {}
                }
                if !self.wire.has_more() && ended + callers > sent || ended == count {
                    break;
                }
            }
        }
        if answered < count {
            bail!("{} of {count} calls of {path} were refused", count - answered);
        }
        Ok(())
    }

    fn send(&mut self, path: &'static str, message: &[u8]) -> Result<u32> {
        let mut out = Vec::with_capacity(message.len() + 128);
        let stream = self.put_call(&mut out, path, message)?;
        self.wire.write(&out)?;
        Ok(stream)
    }

    /// Appends the frames of a call; waits where the server's windows are too small for it.
    fn put_call(&mut self, out: &mut Vec<u8>, path: &'static str, message: &[u8]) -> Result<u32> {
        let size = message.len() + MESSAGE_HEAD;
        while self.stream_window < size || self.send_window < size {
            self.wire.write(out)?;
            out.clear();
            self.step(&mut Vec::new())?;
        }
        self.send_window -= size;
        let stream = self.next_stream;
        self.next_stream += 2;
        put(out, frame::HEADERS, END_HEADERS, stream, &self.headers.of(path));
        let mut body = Vec::with_capacity(size);
        body.push(0);
        body.extend_from_slice(&(message.len() as u32).to_be_bytes());
        body.extend_from_slice(message);
        let mut chunks = body.chunks(MOST).peekable();
        while let Some(chunk) = chunks.next() {
            let end = if chunks.peek().is_none() { END_STREAM } else { 0 };
            put(out, frame::DATA, end, stream, chunk);
        }
        Ok(stream)
    }

    /// Takes one frame; bytes of an answer are appended to `answer`.
    fn step(&mut self, answer: &mut Vec<u8>) -> Result<Step> {
        let frame = self.wire.frame()?;
        let (stream, flags) = (frame.stream, frame.flags);
        let mut reply = Vec::new();
        let mut step = Step::Other;
        match frame.kind {
            frame::DATA => {
                self.received += frame.payload.len();
                match &mut self.watch {
                    Some(watch) if watch.stream == stream => {
                        watch.bytes += frame.payload.len();
                        watch.received += frame.payload.len();
                        watch.partial.extend_from_slice(frame.payload);
                        if watch.complete() {
                            step = Step::List;
                        }
                    }
                    _ => {
                        let from = answer.len();
                        answer.extend_from_slice(frame.payload);
                        step = Step::Data { stream, from };
                    }
                }
            }
            frame::HEADERS if flags & END_STREAM != 0 => {
                if self.watch.as_ref().is_some_and(|watch| watch.stream == stream) {
                    bail!("the server ended ListAndWatch");
                }
                step = Step::End { stream };
            }
            frame::SETTINGS if flags & ACK == 0 => {
                for setting in frame.payload.chunks_exact(6) {
                    if let &[0, 4, a, b, c, d] = setting {
                        self.stream_window = u32::from_be_bytes([a, b, c, d]) as usize;
                    }
                }
                put(&mut reply, frame::SETTINGS, ACK, 0, &[]);
            }
            frame::PING if flags & ACK == 0 => put(&mut reply, frame::PING, ACK, 0, frame.payload),
            frame::WINDOW_UPDATE if stream == 0 => {
                if let &[a, b, c, d] = frame.payload {
                    self.send_window += u32::from_be_bytes([a & 0x7f, b, c, d]) as usize;
                }
            }
            frame::RST_STREAM if frame.payload != [0; 4] => bail!("the server reset a stream: {:?}", frame.payload),
            frame::GOAWAY => bail!("the server sends the client away"),
            _ => {}
        }
        if self.received > REOPEN {
            put(&mut reply, frame::WINDOW_UPDATE, 0, 0, &(std::mem::take(&mut self.received) as u32).to_be_bytes());
            if let Some(watch) = &mut self.watch
                && watch.received > 0
            {
                let received = (std::mem::take(&mut watch.received) as u32).to_be_bytes();
                put(&mut reply, frame::WINDOW_UPDATE, 0, watch.stream, &received);
            }
        }
        if !reply.is_empty() {
            self.wire.write(&reply)?;
        }
        Ok(step)
    }
}

impl Watch {
    /// Takes the whole message that has come, if one has.
    fn complete(&mut self) -> bool {
        let Some(&[_, a, b, c, d]) = self.partial.get(..MESSAGE_HEAD) else { return false };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if self.partial.len() < MESSAGE_HEAD + length {
            return false;
        }
        let rest = self.partial.split_off(MESSAGE_HEAD + length);
        self.list = std::mem::replace(&mut self.partial, rest);
        self.messages += 1;
        true
    }
}
