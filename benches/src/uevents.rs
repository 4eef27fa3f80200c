//! What the host tells all who listen: a uevent wakes each of them, whatever it is about.

use anyhow::{Context, Result};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind,
        netlink::{KOBJECT_UEVENT, SocketAddrNetlink},
        recv, socket_with,
    },
};
use std::os::fd::OwnedFd;

/// The group to which the kernel sends (kernel: `lib/kobject_uevent.c`, `uevent_net_broadcast_untagged`).
const KERNEL: u32 = 1;

/// Listens to the kernel's uevents.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

impl Uevents {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn listen() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT));
        let socket = socket.context("cannot listen to uevents")?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL)).context("cannot listen to uevents")?;
        Ok(Self(socket))
    }

    /// How many have come since the last call.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn come(&self) -> Result<usize> {
        let (mut count, mut buffer) = (0, [0; 8192]);
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok(_) | Err(Errno::NOBUFS) => count += 1,
                Err(Errno::AGAIN) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).context("cannot read uevents"),
            }
        }
    }
}
