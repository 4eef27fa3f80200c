//! A call with an `:authority` of one's choice, written frame by frame, because HTTP libraries refuse what older grpc-go
//! sends: the path of the socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// RFC 9113, sections 3.4 and 6.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
/// An empty gRPC message: not compressed, length 0.
const EMPTY: &[u8] = &[0, 0, 0, 0, 0];

/// How a server took a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It sent response headers.
    Headers,
    /// It refused the stream with this HTTP/2 error code (1 is PROTOCOL_ERROR).
    Reset(u32),
    /// It refused the connection with this HTTP/2 error code.
    GoAway(u32),
    /// It closed the connection without a word.
    Closed,
}

/// Calls `GetDevicePluginOptions` on a plugin's socket with the given `:authority`. A kubelet sends `localhost`; one built
/// on an older grpc-go sends the bare path of the socket (kubernetes#112597).
///
/// # Errors
/// When the socket cannot be reached, or `within` passes without an answer.
pub async fn call_with_authority(socket: &Path, authority: &str, within: Duration) -> io::Result<Answer> {
    tokio::time::timeout(within, call(socket, authority)).await?
}

async fn call(socket: &Path, authority: &str) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut request = PREFACE.to_vec();
    frame(&mut request, SETTINGS, 0, 0, &[])?;
    frame(&mut request, HEADERS, END_HEADERS, 1, &headers(authority)?)?;
    frame(&mut request, DATA, END_STREAM, 1, EMPTY)?;
    stream.write_all(&request).await?;
    loop {
        let mut head = [0; 9];
        match stream.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Answer::Closed),
            read => read?,
        };
        let [a, b, c, kind, ..] = head;
        let mut body = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut body).await?;
        match (kind, body.as_slice()) {
            (HEADERS, _) => return Ok(Answer::Headers),
            (RST_STREAM, [a, b, c, d, ..]) => return Ok(Answer::Reset(u32::from_be_bytes([*a, *b, *c, *d]))),
            (GOAWAY, [_, _, _, _, a, b, c, d, ..]) => return Ok(Answer::GoAway(u32::from_be_bytes([*a, *b, *c, *d]))),
            _ => {}
        }
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, body: &[u8]) -> io::Result<()> {
    let [_, a, b, c] = u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes();
    out.extend([a, b, c, kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(body);
    Ok(())
}

/// The header block, each field as a literal that is not indexed (RFC 7541, section 6.2.2).
fn headers(authority: &str) -> io::Result<Vec<u8>> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/v1beta1.DevicePlugin/GetDevicePluginOptions"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0);
        for text in [name, value] {
            // Lengths from 127 on take more than one byte; a socket's path never gets there.
            let length = u8::try_from(text.len()).ok().filter(|length| *length < 127);
            block.push(length.ok_or_else(|| io::Error::other(format!("header too long: {text}")))?);
            block.extend(text.as_bytes());
        }
    }
    Ok(block)
}
