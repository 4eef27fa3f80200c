//! Asking vfiod over HTTP, as simply as can be.

use anyhow::{Context, Result};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Asks for `path` at `address`, as `host`.
///
/// # Errors
/// When nobody answers, or not in HTTP.
pub fn get_as(host: &str, address: &str, path: &str) -> Result<Answer> {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}

/// Asks for `path` at `address`.
///
/// # Errors
/// When nobody answers, or not in HTTP.
pub fn get(address: &str, path: &str) -> Result<Answer> {
    get_as(address, address, path)
}

/// Sends a request and reads what is answered until the connection ends.
///
/// # Errors
/// When nobody answers, or not in HTTP.
pub fn request(address: &str, request: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("no end of the head")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    Ok(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
}
