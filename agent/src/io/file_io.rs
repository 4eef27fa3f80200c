//! Reading configuration and state files without blocking the reactor, through a ring or through threads.

use super::ring_files;
use std::{io, path::Path};

/// Bytes asked for at once where the file does not tell its size, as in `/proc`.
const CHUNK: usize = 16 * 1024;

/// The way files are read. Both ways answer alike; they differ in who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileIo {
    /// io_uring, on a thread that is there while files are read.
    Uring,
    /// Tokio's blocking threads.
    Plain,
}

impl FileIo {
    /// Reads a whole regular file of at most `limit` bytes.
    ///
    /// Devices, pipes and sockets are refused before they are opened: opening one can wait for ever, and opening a
    /// device can change it.
    ///
    /// # Errors
    /// The error of the kernel; [`IsADirectory`](io::ErrorKind::IsADirectory) for a folder,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for what is not a regular file, and
    /// [`FileTooLarge`](io::ErrorKind::FileTooLarge) above `limit`.
    pub async fn read(self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::Uring => ring_files::read(path.to_owned(), limit).await,
            Self::Plain => {
                let path = path.to_owned();
                tokio::task::spawn_blocking(move || read_now(&path, limit)).await.map_err(io::Error::other)?
            }
        }
    }
}

impl std::fmt::Display for FileIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Uring => "uring",
            Self::Plain => "plain",
        })
    }
}

/// What [`FileIo::Uring`] does, inside a runtime of tokio-uring.
pub(super) async fn read_ring(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mask = libc::STATX_TYPE | libc::STATX_SIZE;
    // Without flags: tokio-uring's default takes an empty path for the working directory.
    let status = tokio_uring::fs::StatxBuilder::new().flags(0).mask(mask).pathname(path)?.statx().await?;
    let size = accept(u32::from(status.stx_mode), status.stx_size, limit)?;
    let file = tokio_uring::fs::File::open(path).await?;
    let content = read_ring_file(&file, size, limit).await;
    // Closed here rather than on drop, where the close would run at an unknown later time.
    let closed = file.close().await;
    let content = content?;
    closed?;
    Ok(content)
}

async fn read_ring_file(file: &tokio_uring::fs::File, size: usize, limit: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(size);
    // One byte more than expected, so that the usual file ends in two reads and a grown one is noticed.
    let mut buffer = Vec::with_capacity(size.saturating_add(1).max(CHUNK));
    loop {
        let (count, filled) = file.read_at(buffer, content.len() as u64).await;
        buffer = filled;
        let count = match count {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if count == 0 {
            return Ok(content);
        }
        content.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if content.len() > limit {
            return Err(too_large(limit));
        }
        buffer.clear();
    }
}

/// What [`FileIo::Plain`] does, on a thread that may block.
///
/// # Errors
/// As [`FileIo::read`].
pub fn read_now(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    use std::{io::Read, os::unix::fs::MetadataExt};
    let status = std::fs::metadata(path)?;
    let size = accept(status.mode(), status.size(), limit)?;
    let mut content = Vec::with_capacity(size);
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(most).read_to_end(&mut content)?;
    if content.len() > limit { Err(too_large(limit)) } else { Ok(content) }
}

/// The size to expect, or why the file is not read at all.
fn accept(mode: u32, size: u64, limit: usize) -> io::Result<usize> {
    match mode & libc::S_IFMT {
        libc::S_IFREG => {}
        libc::S_IFDIR => return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder, not a file")),
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file")),
    }
    usize::try_from(size).ok().filter(|size| *size <= limit).ok_or_else(|| too_large(limit))
}

fn too_large(limit: usize) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("is larger than {limit} bytes"))
}
