//! gRPC over the transport's HTTP/2: one message in, one or many out (gRPC's `PROTOCOL-HTTP2.md`).
//!
//! Where tonic's codec copies each message into a buffer of its own, a message here stays in the frames it came in, and
//! what is sent goes out from where it was prepared.

use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::bytes::{Buf, BufMut, Bytes, BytesMut};
use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tonic::{
    Status,
    body::Body,
    codegen::{
        http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE},
        tokio_stream::Stream,
    },
};

/// What stands before a message: whether it is compressed, and its length.
pub(super) const HEAD: usize = 5;
/// The longest message that is taken, as grpc-go takes it.
const LONGEST: usize = 4 << 20;

/// The head of a message of this length.
pub(super) fn head(length: usize) -> [u8; HEAD] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [0, a, b, c, d]
}

/// A message to be: room for its head, and for about so many bytes more.
pub(super) fn message(about: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEAD + about);
    message.extend_from_slice(&head(0));
    message
}

/// A message that was begun with [`message`], with its head.
pub(super) fn headed(mut message: Vec<u8>) -> Bytes {
    let head = head(message.len().saturating_sub(HEAD));
    if let Some(room) = message.first_chunk_mut() {
        *room = head;
    }
    message.into()
}

/// Reads the only message of a request, to the request's end.
pub(super) async fn read(body: &mut Body) -> Result<Bytes, Status> {
    let mut message = Bytes::new();
    while let Some(chunk) = next(body).await? {
        message = if message.is_empty() { chunk } else { joined(message, &chunk, body).await? };
    }
    if message.len() < HEAD {
        return Err(Status::internal("the request holds no message"));
    }
    let length = announced(&message)?;
    if message.len() != HEAD + length {
        return Err(Status::internal("the request does not hold exactly one message"));
    }
    message.advance(HEAD);
    Ok(message)
}

/// The next data of a request; `None` at its end.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Status> {
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// A message that came in several frames, put together in room that is made once, where its head says how much it takes.
async fn joined(first: Bytes, second: &[u8], body: &mut Body) -> Result<Bytes, Status> {
    let mut message = BytesMut::with_capacity(first.len() + second.len());
    message.put(first);
    message.put(second);
    loop {
        if message.len() >= HEAD {
            let whole = HEAD + announced(&message)?;
            if message.len() > whole {
                return Err(Status::internal("the request does not hold exactly one message"));
            }
            message.reserve(whole - message.len());
        }
        match next(body).await? {
            Some(chunk) => message.put(chunk),
            None => return Ok(message.freeze()),
        }
    }
}

/// The length that the head of a message says.
fn announced(message: &[u8]) -> Result<usize, Status> {
    let Some(&[compressed, a, b, c, d]) = message.first_chunk() else { return Ok(0) };
    if compressed != 0 {
        return Err(Status::unimplemented("compressed messages are not understood"));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > LONGEST {
        return Err(Status::out_of_range(format!("a message of {length} bytes: at most {LONGEST} are taken")));
    }
    Ok(length)
}

/// The answer with one message, which was begun with [`message`].
pub(super) fn answer(message: Result<Vec<u8>, Status>) -> Response<Body> {
    match message {
        Ok(message) => {
            response(Messages { pieces: VecDeque::from([headed(message)]), more: None::<Never>, ended: false })
        }
        Err(status) => status.into_http(),
    }
}

/// The answer with many messages, each in pieces with its head before them. It goes on until `messages` ends.
pub(super) fn answers(messages: impl Stream<Item = VecDeque<Bytes>> + Send + Unpin + 'static) -> Response<Body> {
    response(Messages { pieces: VecDeque::new(), more: Some(messages), ended: false })
}

fn response(body: impl HttpBody<Data = Bytes, Error = Status> + Send + 'static) -> Response<Body> {
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The messages of an answer.
struct Messages<S> {
    pieces: VecDeque<Bytes>,
    more: Option<S>,
    ended: bool,
}

/// No more messages.
type Never = futures_util::stream::Pending<VecDeque<Bytes>>;

impl<S: Stream<Item = VecDeque<Bytes>> + Unpin> HttpBody for Messages<S> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let more = match &mut self.more {
                Some(more) => ready!(Pin::new(more).poll_next(context)),
                None => None,
            };
            match more {
                Some(pieces) => self.pieces = pieces,
                None if self.ended => return Poll::Ready(None),
                None => {
                    (self.more, self.ended) = (None, true);
                    return Poll::Ready(Some(Ok(Frame::trailers(well()))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The trailers of a call that went well.
fn well() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that comes in these frames.
    struct Came(VecDeque<Bytes>);

    impl HttpBody for Came {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front().map(|data| Ok(Frame::data(data))))
        }
    }

    async fn read_of(frames: &[&[u8]]) -> Result<Bytes, Status> {
        read(&mut Body::new(Came(frames.iter().map(|frame| Bytes::copy_from_slice(frame)).collect()))).await
    }

    #[tokio::test]
    async fn a_message_is_read_however_it_is_cut() {
        let whole = [0, 0, 0, 0, 6, b'a', b'b', b'c', b'd', b'e', b'f'];
        for first in 0..whole.len() {
            for second in first..whole.len() {
                let (start, rest) = whole.split_at(first);
                let (middle, end) = rest.split_at(second - first);
                assert_eq!(read_of(&[start, middle, end]).await.unwrap(), b"abcdef".as_slice());
            }
        }
        assert_eq!(read_of(&[&head(0)]).await.unwrap(), b"".as_slice());
    }

    #[tokio::test]
    async fn what_is_not_one_message_is_refused() {
        use tonic::Code::{Internal, OutOfRange, Unimplemented};
        let cases: [(&[&[u8]], tonic::Code); 8] = [
            (&[], Internal),
            (&[&[0, 0, 0]], Internal),
            (&[&[0, 0, 0, 0, 2, 1]], Internal),
            (&[&[0, 0, 0, 0, 1, 1, 1]], Internal),
            (&[&[0, 0, 0, 0, 1], &[1, 1]], Internal),
            (&[&[1, 0, 0, 0, 1, 1]], Unimplemented),
            (&[&[0, 0xff, 0, 0, 0], &[1]], OutOfRange),
            (&[&[0, 0xff, 0, 0, 0]], OutOfRange),
        ];
        for (frames, code) in cases {
            assert_eq!(read_of(frames).await.unwrap_err().code(), code, "{frames:?}");
        }
    }
}
