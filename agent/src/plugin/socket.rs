//! The socket file of an endpoint: unique, found again, removed with its endpoint.

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};
use std::{
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::net::UnixListener;
use tracing::debug;
use vfiod_core::permit::ResourceName;

/// The longest path of a Unix socket, without its closing zero (kernel: `include/uapi/linux/un.h`, `UNIX_PATH_MAX`).
const LONGEST: usize = 107;
const PREFIX: &str = "vfiod-";
const SUFFIX: &str = ".sock";

/// A bound socket file.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    identity: (u64, u64),
}

/// Why an endpoint has no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    /// The kubelet's folder is too deep.
    #[error(
        "the path of the kubelet's plugin folder leaves no room for a socket name: {path} is {length} bytes long, at most {LONGEST} are possible; use a shorter --kubelet-dir"
    )]
    TooLong { path: String, length: usize },
    /// The kernel refused.
    #[error("cannot make the socket {path}: {source}")]
    Bind { path: String, source: io::Error },
}

impl Socket {
    /// Binds a new socket at `path`, which is a [`free_path`].
    pub(super) fn bind(path: PathBuf) -> Result<(Self, UnixListener), SocketError> {
        let failed = |source| SocketError::Bind { path: path.display().to_string(), source };
        let listener = UnixListener::bind(&path).map_err(failed)?;
        let meta = std::fs::symlink_metadata(&path).map_err(failed)?;
        Ok((Self { identity: (meta.dev(), meta.ino()), path }, listener))
    }

    /// The name under which it is registered.
    pub(super) fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is still there: a starting kubelet wipes its folder.
    pub(super) fn is_there(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_there()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            debug!(path = %self.path.display(), "cannot remove the socket: {error}");
        }
    }
}

/// A name that no other endpoint of any agent has: resource, then process, start and count. An agent that starts while
/// another one still runs must not take its socket away.
pub(super) fn free_path(folder: &Path, resource: &ResourceName) -> Result<PathBuf, SocketError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.subsec_nanos());
    let unique = format!("{:x}-{nanos:x}-{count:x}", std::process::id());
    let room = LONGEST.saturating_sub(folder.as_os_str().as_bytes().len() + 1);
    let fixed = PREFIX.len() + SUFFIX.len() + unique.len() + 1;
    if room < fixed {
        let path = folder.join(format!("{PREFIX}{unique}{SUFFIX}"));
        return Err(SocketError::TooLong {
            length: path.as_os_str().as_bytes().len(),
            path: path.display().to_string(),
        });
    }
    let readable: String = resource.as_str().replace('/', "_").chars().take(room - fixed).collect();
    let separator = if readable.is_empty() { "" } else { "-" };
    Ok(folder.join(format!("{PREFIX}{readable}{separator}{unique}{SUFFIX}")))
}

/// Removes sockets of agents that are gone: nobody listens on them. Returns how many.
///
/// # Errors
/// When the folder cannot be read.
pub fn remove_stale_sockets(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        let socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        if !ours || !socket {
            continue;
        }
        if is_abandoned(&entry.path()) && std::fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether nobody listens on a socket file. Does not wait for a listener whose queue is full.
fn is_abandoned(path: &Path) -> bool {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let Ok(socket) = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None) else { return false };
    SocketAddrUnix::new(path).is_ok_and(|address| connect(&socket, &address) == Err(Errno::CONNREFUSED))
}
