//! The socket file: for root alone, and for one vfiod at a time.

use rustix::{
    fs::Mode,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with},
};
use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};
use tokio::net::UnixListener;

/// Where the socket is, unless `--status-socket` says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/vfiod/status.sock";

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// A bound socket file; removed when dropped, unless another vfiod has taken its place.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    identity: Identity,
}

/// Device, inode and time of making: an inode's number is used again.
type Identity = (u64, u64, i64, i64);

fn identity(meta: &fs::Metadata) -> Identity {
    (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec())
}

/// Why there is no status socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another vfiod answers there.
    #[error("another vfiod answers on {}; this one takes the socket over when it ends", .0.display())]
    Taken(PathBuf),
    /// There is something else at the path.
    #[error("{} exists and is no socket; name another path with --status-socket", .0.display())]
    NoSocket(PathBuf),
    /// The kernel refused.
    #[error("cannot make the status socket {}: {source}; name a path that can be written with --status-socket", path.display())]
    Refused {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Socket {
    /// Binds the socket at `path`, with its folder if need be.
    pub(super) fn bind(path: &Path) -> Result<(Self, UnixListener), BindError> {
        let refused = |source: io::Error| BindError::Refused { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(refused)?;
        }
        clear(path)?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(|errno| refused(errno.into()))?;
        // The file gets the mode of the socket, so at no time can others open it (kernel: `net/unix/af_unix.c`,
        // `unix_bind_bsd`).
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|errno| refused(errno.into()))?;
        let address = SocketAddrUnix::new(path).map_err(|errno| refused(errno.into()))?;
        bind(&socket, &address).map_err(|errno| refused(errno.into()))?;
        let meta = fs::symlink_metadata(path).map_err(refused)?;
        let bound = Self { path: path.to_owned(), identity: identity(&meta) };
        listen(&socket, BACKLOG).map_err(|errno| refused(errno.into()))?;
        let listener = UnixListener::from_std(OwnedFd::into(socket)).map_err(refused)?;
        Ok((bound, listener))
    }
}

/// Removes the socket of a vfiod that is gone.
fn clear(path: &Path) -> Result<(), BindError> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(_) => return Ok(()),
    };
    if !meta.file_type().is_socket() {
        return Err(BindError::NoSocket(path.to_owned()));
    }
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let refused = |errno: rustix::io::Errno| BindError::Refused { path: path.to_owned(), source: errno.into() };
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(refused)?;
    let address = SocketAddrUnix::new(path).map_err(refused)?;
    match connect(&probe, &address) {
        Err(rustix::io::Errno::CONNREFUSED) => {
            let removed = fs::remove_file(path);
            removed.map_err(|source| BindError::Refused { path: path.to_owned(), source })
        }
        Err(rustix::io::Errno::NOENT) => Ok(()),
        _ => Err(BindError::Taken(path.to_owned())),
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| identity(&meta) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    #[tokio::test]
    async fn only_root_can_open_it_and_its_folder_is_made() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("run/vfiod/status.sock");
        let (socket, _listener) = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_answers_is_left_alone_and_a_dead_one_is_replaced() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("status.sock");
        let (socket, listener) = Socket::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(BindError::Taken(_))));
        drop(listener);
        let (_newer, _listener) = Socket::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists(), "the older one does not take the newer one's file along");
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_removed() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        let error = Socket::bind(&path).unwrap_err().to_string();
        assert!(error.contains("is no socket") && error.contains("--status-socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
