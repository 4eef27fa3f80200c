//! What is exchanged, and what is left alone, to the byte.
//!
//! The oracle is a second conversation: the same requests, written with the authority that should come out. Nothing else
//! may differ.

mod adapter;
mod exchanged;
mod generated;
mod untouched;
mod writer;

use super::frames::Frames;
use writer::Request;

/// A path as the kubelet before 1.26 sends it, as newer grpc-go escapes it, and what is made of the two.
const PATH: &str = "/var/lib/kubelet/device-plugins/vfiod-intel.com_qat-1f-2a-0.sock";
const INSTEAD: &str = "3var3lib3kubelet3device-plugins3vfiod-intel.com_qat-1f-2a-0.sock";
const ESCAPED: &str = "%2Fvar%2Flib%2Fkubelet%2Fdevice-plugins%2Fvfiod.sock";
const ESCAPED_INSTEAD: &str = ".2Fvar.2Flib.2Fkubelet.2Fdevice-plugins.2Fvfiod.sock";

/// What comes out of a connection whose bytes come in pieces of these lengths, and then all the rest.
fn pass(bytes: &[u8], pieces: &[usize]) -> Vec<u8> {
    let mut frames = Frames::new();
    let mut out = bytes.to_vec();
    let mut rest = out.as_mut_slice();
    for piece in pieces {
        let (now, later) = rest.split_at_mut((*piece).min(rest.len()));
        frames.pass(now);
        rest = later;
    }
    frames.pass(rest);
    out
}

/// A connection with these requests.
fn conversation(requests: &[Request<'_>]) -> Vec<u8> {
    let mut bytes = writer::opening();
    for (count, request) in requests.iter().enumerate() {
        let stream = u32::try_from(count).unwrap() * 2 + 1;
        request.write(stream, &mut bytes);
        writer::frame(writer::DATA, writer::END_STREAM, stream, &[0; 5], &mut bytes);
        // Frames of connections that live: a window update, a ping.
        writer::frame(0x8, 0, 0, &[0, 0, 1, 0], &mut bytes);
        writer::frame(0x6, 0, 0, b"/ping/%2", &mut bytes);
    }
    bytes
}
