//! Clients that give a path as their HTTP/2 `:authority`, made acceptable.
//!
//! A kubelet older than 1.26 dials the bare path of the plugin's socket, and its grpc-go sends that path as `:authority`
//! (`determineAuthority` in grpc-go's `clientconn.go`; kubernetes#112597 made it `localhost`); newer grpc-go escapes it to
//! `%2Fvar%2F…`, and gRPC's C core (C++, Python) says `var%2F…`. To the http crate none of them is an authority, and the h2
//! crate resets such a stream with PROTOCOL_ERROR before a service hears of it. [`Lenient`] stands between the socket and
//! the server and exchanges the offending characters, in place:
//!
//! ```text
//! socket ─> Lenient ─> HTTP/2 server          frames: where header blocks are
//!              └─ frames ─> block ─> text     block:  where in them the value of :authority is
//!                                             text:   which of its characters are exchanged
//! ```
//!
//! Every character is exchanged for one whose code is as long, raw and in Huffman's code: lengths of frames and strings
//! stay, and so do the sizes in HPACK's tables at both ends. What is not understood passes as it is, and HTTP/2 judges it.
//! Nothing is held back, nothing is allocated, and once the first request of a connection had a sound authority nothing
//! is looked at any more. The value itself serves nobody: there is one service behind each socket.

mod block;
mod frames;
#[cfg(test)]
mod tests;
mod text;

use frames::Frames;
use std::{
    io,
    pin::Pin,
    sync::Once,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use tracing::info;

/// A connection whose client may give a path as `:authority`.
#[derive(Debug)]
pub(crate) struct Lenient<S> {
    stream: S,
    inbound: Frames,
}

impl<S> Lenient<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self { stream, inbound: Frames::new() }
    }
}

/// Says once for all connections that there is such a client.
fn tell() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        info!(
            "a client gives the path of the socket as HTTP/2 authority, as kubelets before 1.26 do: it is served all the same"
        );
    });
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.inbound.watching()
            && let Some(bytes) = buf.filled_mut().get_mut(before..)
            && self.inbound.pass(bytes)
        {
            tell();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: Connected> Connected for Lenient<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}
