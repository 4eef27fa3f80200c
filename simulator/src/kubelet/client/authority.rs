//! The `:authority` of older kubelets.
//!
//! HTTP libraries refuse to send a path as authority, so a client sends `localhost`, and the field is exchanged on the way,
//! frame by frame. What the plugin sees is what grpc-go sends, requests that reuse the dynamic table of HPACK included.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::net::UnixStream;

use crate::kubelet::builder::Authority;

/// RFC 9113, sections 3.4 and 4.1.
const PREFACE: usize = 24;
const HEADERS: u8 = 0x1;
/// What the client says instead: `:authority: localhost` as the h2 crate writes it: indexed, with the name of the static table, in Huffman's code.
const LOCALHOST: &[u8] = &[0x41, 0x86, 0xa0, 0xe4, 0x1d, 0x13, 0x9d, 0x09];
const BUFFER: usize = 64 * 1024;

/// Huffman's code (RFC 7541, appendix B) as far as paths need it: bits, the first code of that length, its characters.
const CODES: [(u32, u32, &str); 4] = [
    (5, 0x00, "012aceiost"),
    (6, 0x14, " %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, "&*,;XZ"),
];

/// A stream to the plugin on which `localhost` becomes `authority`, for `socket`.
pub(super) fn exchange(stream: UnixStream, authority: Authority, socket: &str) -> DuplexStream {
    let (client, inner) = tokio::io::duplex(BUFFER);
    let field = field(authority, socket);
    tokio::spawn(async move {
        let (from_client, mut to_client) = tokio::io::split(inner);
        let (mut from_plugin, to_plugin) = tokio::io::split(stream);
        // Whichever side closes first, both are closed.
        tokio::select! {
            _ = requests(from_client, to_plugin, &field) => {}
            _ = tokio::io::copy(&mut from_plugin, &mut to_client) => {}
        }
    });
    client
}

/// Copies what the client says, with `field` in place of [`LOCALHOST`].
async fn requests(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<UnixStream>, field: &[u8]) -> io::Result<()> {
    let mut preface = [0; PREFACE];
    from.read_exact(&mut preface).await?;
    to.write_all(&preface).await?;
    loop {
        let mut head = [0; 9];
        from.read_exact(&mut head).await?;
        let [a, b, c, kind, rest @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        from.read_exact(&mut payload).await?;
        if kind == HEADERS
            && let Some(place) = payload.windows(LOCALHOST.len()).position(|bytes| bytes == LOCALHOST)
        {
            payload.splice(place..place + LOCALHOST.len(), field.iter().copied());
        }
        let [_, a, b, c] = u32::try_from(payload.len()).map_err(io::Error::other)?.to_be_bytes();
        to.write_all(&[&[a, b, c, kind], &rest[..], &payload].concat()).await?;
    }
}

/// The field, indexed, with the name of the static table (RFC 7541, section 6.2.1).
fn field(authority: Authority, socket: &str) -> Vec<u8> {
    let (mark, value) = match authority {
        Authority::Localhost => return LOCALHOST.to_vec(),
        Authority::Path { huffman: false } => (0x00, socket.as_bytes().to_vec()),
        Authority::Path { huffman: true } => (0x80, in_huffman(socket)),
        Authority::EscapedPath => (0x80, in_huffman(&socket.replace('/', "%2F"))),
    };
    let mut field = vec![0x41];
    // An integer whose first byte has seven bits (RFC 7541, section 5.1).
    match value.len() {
        short @ ..127 => field.push(mark | (short & 0x7f) as u8),
        long => field.extend([mark | 0x7f, (long - 127) as u8 | 0x80, ((long - 127) >> 7) as u8]),
    }
    field.extend(value);
    field
}

fn in_huffman(text: &str) -> Vec<u8> {
    let (mut out, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for character in text.chars() {
        let code = CODES.iter().find_map(|(length, first, characters)| {
            let place = characters.chars().position(|known| known == character)?;
            Some((*length, first + u32::try_from(place).ok()?))
        });
        // `?` for what no socket of a test has in its path.
        let (length, code) = code.unwrap_or((10, 0x3fc));
        (held, bits) = ((held << length) | code, bits + length);
        while bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        // Filled with ones.
        out.push(((held << (8 - bits)) | (0xff >> bits)) as u8);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_raw_or_in_huffmans_code() {
        assert_eq!(field(Authority::Path { huffman: false }, "/a/b"), b"\x41\x04/a/b");
        // RFC 7541, C.4.1.
        let example = [0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(field(Authority::Path { huffman: true }, "www.example.com"), example);
        assert_eq!(field(Authority::Path { huffman: true }, "localhost"), LOCALHOST);
        assert_eq!(field(Authority::EscapedPath, "/")[1], 0x83, "%2F");
    }

    #[test]
    fn a_long_path_has_a_length_of_several_bytes() {
        assert_eq!(field(Authority::Path { huffman: false }, &"/".repeat(127))[..3], [0x41, 0x7f, 0x80]);
        assert_eq!(field(Authority::Path { huffman: false }, &"/".repeat(300))[1..4], [0x7f, 0xad, 0x01]);
    }
}
