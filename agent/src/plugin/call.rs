//! One gRPC call on a connection of its own (gRPC's `PROTOCOL-HTTP2.md`): all that registering takes.
//!
//! tonic's channel would do it, too. It reconnects, queues and balances in tasks of its own, and says good-bye; a call that is made once
//! and whose connection ends with it needs none of that. Each resource registers at once when a kubelet starts, and what
//! the first waits for, all wait for.

use super::grpc;
use prost::{Message, bytes::Bytes};
use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};
use tonic::{
    Code, Status,
    codegen::http::{
        Method, Request, StatusCode, Version,
        header::{CONTENT_TYPE, TE, USER_AGENT},
    },
};

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) enum CallError {
    /// The connection ended, or something else than HTTP/2 came over it.
    Broken(h2::Error),
    /// The other side answered so.
    Refused(Status),
}

impl From<h2::Error> for CallError {
    fn from(error: h2::Error) -> Self {
        Self::Broken(error)
    }
}

/// Calls `url` with `message`; the message of the answer says nothing and is not read.
pub(super) async fn call(stream: UnixStream, url: &str, message: &impl Message) -> Result<(), CallError> {
    let mut builder = h2::client::Builder::new();
    let (sender, connection) = builder.enable_push(false).handshake(Eager(stream)).await?;
    let (mut answer, mut connection) = (pin!(answer(sender, url, message)), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // What came before its end has been taken by now.
        ended = &mut connection => match answer.await {
            Err(CallError::Broken(error)) => Err(CallError::Broken(ended.err().unwrap_or(error))),
            answer => answer,
        }
    }
}

async fn answer(sender: h2::client::SendRequest<Bytes>, url: &str, message: &impl Message) -> Result<(), CallError> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .version(Version::HTTP_2)
        .header(TE, "trailers")
        .header(CONTENT_TYPE, "application/grpc")
        .header(USER_AGENT, concat!("vfiod/", env!("CARGO_PKG_VERSION")))
        .body(())
        .map_err(|error| CallError::Refused(Status::internal(format!("the call cannot be made: {error}"))))?;
    let mut body = grpc::message(message.encoded_len());
    message.encode_raw(&mut body);
    let mut sender = sender.ready().await?;
    let (response, mut stream) = sender.send_request(request, false)?;
    stream.send_data(grpc::headed(body), true)?;
    let (head, mut body) = response.await?.into_parts();
    if head.status != StatusCode::OK {
        return Err(CallError::Refused(Status::unknown(format!("it answered with HTTP status {}", head.status))));
    }
    let mut status = Status::from_header_map(&head.headers);
    if status.is_none() {
        while let Some(data) = body.data().await {
            let length = data?.len();
            body.flow_control().release_capacity(length)?;
        }
        status = body.trailers().await?.as_ref().and_then(Status::from_header_map);
    }
    match status {
        Some(status) if status.code() == Code::Ok => Ok(()),
        Some(status) => Err(CallError::Refused(status)),
        None => Err(CallError::Refused(Status::unknown("it answered without a status"))),
    }
}

/// A stream that is written to at once. tokio's waits first until the kernel has said that it can be: behind all other
/// resources, while the kubelet has nothing to do.
struct Eager(UnixStream);

impl AsyncRead for Eager {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Eager {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match rustix::net::send(&self.0, bytes, rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT) {
            Ok(sent) => Poll::Ready(Ok(sent)),
            Err(_) => Pin::new(&mut self.0).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::codegen::http::{HeaderMap, Response};
    use vfiod_proto::deviceplugin::RegisterRequest;

    /// What a server does with the call.
    enum Does {
        /// Answers with these headers, then with a message and these trailers.
        Answer(&'static [(&'static str, &'static str)], Option<&'static [(&'static str, &'static str)]>),
        /// Closes the connection.
        Close,
        /// Speaks something else.
        Babble,
    }

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    async fn serve(stream: UnixStream, does: Does) {
        let (headers, trailers) = match does {
            Does::Answer(headers, trailers) => (headers, trailers),
            Does::Close => return,
            Does::Babble => {
                let mut stream = Eager(stream);
                let _ = std::future::poll_fn(|context| {
                    Pin::new(&mut stream).poll_write(context, b"HTTP/1.1 400 Bad Request\r\n\r\n")
                })
                .await;
                return;
            }
        };
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut answer) = connection.accept().await.unwrap().unwrap();
        assert_eq!(request.uri().path(), "/v1beta1.Registration/Register");
        assert_eq!(request.headers()[TE], "trailers");
        let mut response = Response::new(());
        *response.headers_mut() = map(headers);
        let mut body = answer.send_response(response, trailers.is_none()).unwrap();
        if let Some(trailers) = trailers {
            body.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
            body.send_trailers(map(trailers)).unwrap();
        }
        // It closes as soon as all is said, as a kubelet may that ends at this moment.
        connection.graceful_shutdown();
        let _ = connection.accept().await;
    }

    async fn told(does: Does) -> Result<(), String> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let request = RegisterRequest { resource_name: "a.com/gpu".to_owned(), ..RegisterRequest::default() };
        let called = call(ours, "http://localhost/v1beta1.Registration/Register", &request);
        let (called, ()) = tokio::join!(called, serve(theirs, does));
        called.map_err(|error| match error {
            CallError::Refused(status) => format!("{:?}: {}", status.code(), status.message()),
            CallError::Broken(_) => "broken".to_owned(),
        })
    }

    #[tokio::test]
    async fn an_answer_counts_wherever_its_status_stands() {
        assert_eq!(told(Does::Answer(&[], Some(&[("grpc-status", "0")]))).await, Ok(()));
        assert_eq!(told(Does::Answer(&[("grpc-status", "0")], None)).await, Ok(()));
        const REFUSAL: &[(&str, &str)] = &[("grpc-status", "3"), ("grpc-message", "not%20a%20name")];
        for refused in [Does::Answer(REFUSAL, None), Does::Answer(&[], Some(REFUSAL))] {
            assert_eq!(told(refused).await.unwrap_err(), "InvalidArgument: not a name");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_told_apart() {
        assert_eq!(told(Does::Close).await.unwrap_err(), "broken");
        assert_eq!(told(Does::Babble).await.unwrap_err(), "broken");
        assert_eq!(told(Does::Answer(&[], Some(&[]))).await.unwrap_err(), "Unknown: it answered without a status");
        assert_eq!(told(Does::Answer(&[], None)).await.unwrap_err(), "Unknown: it answered without a status");
    }
}
