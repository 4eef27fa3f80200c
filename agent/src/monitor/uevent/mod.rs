//! The kernel's uevents, from its netlink socket.
//!
//! Events of devices reach the socket of every network namespace that belongs to the initial user namespace
//! (kernel: `lib/kobject_uevent.c`, `uevent_net_broadcast_untagged`), so no host network is needed in a pod.

mod parse;
#[cfg(test)]
mod tests;

pub use parse::{Action, Malformed, Subsystem, Uevent, parse};

use super::readable::readable;
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind,
        netlink::{self, SocketAddrNetlink},
        recvfrom, socket_with,
        sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force},
    },
};
use std::{io, os::fd::OwnedFd};
use tokio::io::unix::AsyncFd;

/// The group of events as the kernel sends them; udev repeats its own form of them in group 2
/// (kernel: `lib/kobject_uevent.c`; systemd: `src/libsystemd/sd-device/device-monitor.c`, `MonitorNetlinkGroup`).
const KERNEL_GROUP: u32 = 1;

/// Room for some thousands of events: enabling 256 virtual functions makes over a thousand at once.
const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;

/// More than the kernel writes into one event (kernel: `include/linux/kobject.h`, `UEVENT_BUFFER_SIZE` is 2048, and the
/// path comes before it).
const LONGEST_EVENT: usize = 16 * 1024;

/// Datagrams taken at once, so that a storm cannot keep the reactor from its other work.
const MOST_DATAGRAMS: usize = 4096;

/// What arrived since the last batch, in the kernel's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The events about VFIO devices.
    pub events: Vec<Uevent>,
    /// The kernel had to drop events: anything may have changed, so rescan now.
    pub overrun: bool,
    /// Datagrams that could not be read as events; they are left out.
    pub malformed: u64,
}

/// Why there are no uevents.
#[derive(Debug, thiserror::Error)]
#[error(
    "the kernel's uevents cannot be received ({0}): changes of devices are noticed by the periodic rescan only; allow \
     AF_NETLINK sockets to this process"
)]
pub struct Refused(#[source] io::Error);

/// A socket that receives the kernel's uevents. Needs a tokio runtime with I/O, of either mode.
pub struct UeventSocket {
    socket: AsyncFd<OwnedFd>,
}

impl UeventSocket {
    /// Opens the socket. Events are kept from here on, so open it first and scan then.
    ///
    /// # Errors
    /// When the kernel refuses the socket or the group.
    pub fn open() -> Result<Self, Refused> {
        Self::with_buffer(RECEIVE_BUFFER).map_err(Refused)
    }

    fn with_buffer(size: usize) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::KOBJECT_UEVENT))?;
        // Beyond `net.core.rmem_max` only with CAP_NET_ADMIN; less room means more rescans, nothing worse.
        if set_socket_recv_buffer_size_force(&socket, size).is_err() {
            set_socket_recv_buffer_size(&socket, size)?;
        }
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self { socket: readable(socket)? })
    }

    /// Waits until there is something about VFIO devices, and takes all that is there. Cancelling it loses nothing.
    ///
    /// # Errors
    /// When the socket cannot be read; an overrun is no error.
    pub async fn next_batch(&mut self) -> io::Result<Batch> {
        loop {
            let mut guard = self.socket.readable().await?;
            let mut batch = Batch::default();
            if drain(self.socket.get_ref(), &mut batch)? {
                guard.clear_ready();
            }
            if batch != Batch::default() {
                return Ok(batch);
            }
        }
    }
}

/// Says whether the socket was emptied.
fn drain(socket: &OwnedFd, batch: &mut Batch) -> io::Result<bool> {
    let mut buffer = vec![0; LONGEST_EVENT];
    for _ in 0..MOST_DATAGRAMS {
        match recvfrom(socket, buffer.as_mut_slice(), RecvFlags::TRUNC) {
            Ok((_, length, sender)) => {
                let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
                if sender.is_none_or(|sender| sender.pid() != 0) {
                    continue; // any process may write to this socket; only the kernel is port 0
                }
                match buffer.get(..length).map(parse) {
                    Some(Ok(event)) => batch.events.extend(event),
                    Some(Err(_)) | None => batch.malformed += 1,
                }
            }
            Err(Errno::AGAIN) => return Ok(true),
            Err(Errno::NOBUFS) => batch.overrun = true,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(false)
}
