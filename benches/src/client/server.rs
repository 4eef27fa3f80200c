//! The kubelet's registration service: one call on one connection.

use super::{
    frame::{self, ACK, END_HEADERS, END_STREAM, PREFACE, Wire, put},
    hpack,
};
use crate::wire::Fields;
use anyhow::{Context, Result, bail};
use std::os::unix::net::UnixStream;

/// What a plugin says of itself (`RegisterRequest`), and the connection on which it waits for the answer.
#[derive(Debug)]
pub struct Registration {
    /// The file name of its socket.
    pub endpoint: String,
    /// The resource.
    pub resource: String,
    wire: Wire,
    stream: u32,
}

/// Reads the `Register` call of a connection; `None` where nobody says a word: a plugin may only look who listens.
///
/// # Errors
/// When something else comes.
pub fn receive_registration(socket: UnixStream) -> Result<Option<Registration>> {
    socket.set_read_timeout(Some(super::PATIENCE))?;
    let mut wire = Wire::new(socket);
    if wire.skip(PREFACE.len()).is_err() {
        return Ok(None);
    }
    let mut hello = Vec::new();
    put(&mut hello, frame::SETTINGS, 0, 0, &[]);
    wire.write(&hello)?;
    let mut body = Vec::new();
    loop {
        let frame = wire.frame()?;
        let (kind, flags, stream) = (frame.kind, frame.flags, frame.stream);
        match kind {
            frame::DATA => body.extend_from_slice(frame.payload),
            frame::SETTINGS if flags & ACK == 0 => {
                let mut ack = Vec::new();
                put(&mut ack, frame::SETTINGS, ACK, 0, &[]);
                wire.write(&ack)?;
            }
            frame::PING if flags & ACK == 0 => {
                let mut pong = Vec::new();
                put(&mut pong, frame::PING, ACK, 0, frame.payload);
                wire.write(&pong)?;
            }
            frame::GOAWAY | frame::RST_STREAM => bail!("the plugin gave its registration up"),
            _ => {}
        }
        if stream != 0 && flags & END_STREAM != 0 && matches!(kind, frame::DATA | frame::HEADERS) {
            let message = body.get(super::MESSAGE_HEAD..).context("an empty registration")?;
            let text = |number| {
                let field = Fields(message).find(|(found, _)| *found == number).map(|(_, text)| text.to_vec());
                field.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default()
            };
            return Ok(Some(Registration { endpoint: text(2), resource: text(3), wire, stream }));
        }
    }
}

impl Registration {
    /// Answers that it is registered. The connection stays until the value goes.
    ///
    /// # Errors
    /// When the plugin is gone.
    pub fn accept(&mut self) -> Result<()> {
        let (headers, trailers) = hpack::answer();
        let mut answer = Vec::new();
        put(&mut answer, frame::HEADERS, END_HEADERS, self.stream, &headers);
        put(&mut answer, frame::DATA, 0, self.stream, &[0; super::MESSAGE_HEAD]);
        put(&mut answer, frame::HEADERS, END_HEADERS | END_STREAM, self.stream, &trailers);
        self.wire.write(&answer)
    }
}
