//! The adapter around a socket.

use super::{super::Lenient, INSTEAD, PATH, conversation, writer::Request};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

#[tokio::test]
async fn a_socket_reads_what_was_exchanged_and_writes_what_it_is_given() {
    let (mut client, server) = UnixStream::pair().unwrap();
    let mut server = Lenient::new(server);
    client.write_all(&conversation(&[Request::new(PATH)])).await.unwrap();
    client.shutdown().await.unwrap();
    let (mut first, mut rest) = ([0; 100], Vec::new());
    server.read_exact(&mut first).await.unwrap();
    server.read_to_end(&mut rest).await.unwrap();
    assert_eq!([&first[..], &rest].concat(), conversation(&[Request::new(INSTEAD)]));

    server.write_all(&conversation(&[Request::new(PATH)])).await.unwrap();
    server.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, conversation(&[Request::new(PATH)]));
}

#[tokio::test]
async fn what_a_buffer_held_before_is_not_looked_at() {
    let (mut client, server) = UnixStream::pair().unwrap();
    client.write_all(&conversation(&[Request::new(PATH)])).await.unwrap();
    client.shutdown().await.unwrap();
    let mut bytes = b"PRI * ".to_vec();
    Lenient::new(server).read_to_end(&mut bytes).await.unwrap();
    assert_eq!(&bytes[6..], conversation(&[Request::new(INSTEAD)]));
}
