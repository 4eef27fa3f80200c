//! Injecting events, so that a listener on this machine receives those of a simulated node.
//!
//! A process with `CAP_SYS_ADMIN` over its network namespace may hand the kernel an event, and the kernel broadcasts it
//! there as its own (kernel: `lib/kobject_uevent.c`, `uevent_net_rcv_skb` and `uevent_net_broadcast`, since 4.18).

use std::{fs, io, os::fd::OwnedFd};

use rustix::{
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::{KOBJECT_UEVENT, SocketAddrNetlink},
        recv, sendto, socket_with,
    },
    thread::{UnshareFlags, unshare_unsafe},
};

use super::Uevent;

/// When a node injects its events into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Injection {
    /// Where it is allowed and the network namespace is not the one of process 1, so that a real host's udev
    /// never hears of devices that it does not have.
    #[default]
    InPrivateNetwork,
    /// Wherever it is allowed.
    Always,
    /// Never: events are only returned.
    Never,
}

/// Whether a node's events reach listeners on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The kernel broadcasts them in the network namespace in which the node was built.
    Broadcast,
    /// They are only returned, for this reason: a reader has to rescan to learn of a change.
    ReturnedOnly(String),
}

/// Gives the calling thread a network namespace of its own; threads and processes that it starts from then on share it.
///
/// Tests that run in parallel should each call this before they build a node and start an agent: events name devices by
/// their path below `/sys`, and so do those of every other node. (To an agent that reads the facts again on each event,
/// foreign ones are harmless, but they make it look when it would not have.)
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`. An ordinary user can start the whole program under `unshare --user --map-root-user --net`.
pub fn enter_private_network() -> io::Result<()> {
    // SAFETY: a new network namespace changes which sockets the thread opens later. No memory, descriptor or file system
    // state is shared differently afterwards.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// A socket through which events go to the kernel.
#[derive(Debug)]
pub(super) struct Injector(OwnedFd);

/// The longest event that the kernel sends (kernel: `include/linux/kobject.h`).
const UEVENT_BUFFER_SIZE: usize = 2048;
/// `struct nlmsghdr`: length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// The first type that is not a control message (`NLMSG_MIN_TYPE`); the kernel looks at no other part of it.
const TYPE: u16 = 0x10;
/// `NLM_F_REQUEST | NLM_F_ACK`: the kernel drops what is no request, and with the second flag says how it went.
const FLAGS: u16 = 0x1 | 0x4;

impl Injector {
    /// Opens the socket where `injection` and the kernel allow it, or says why not.
    pub(super) fn open(injection: Injection) -> Result<Self, String> {
        match injection {
            Injection::Never => return Err("injection is switched off".to_owned()),
            Injection::InPrivateNetwork if shares_network_with_init() => {
                return Err("this is the machine's own network namespace: enter a private one first".to_owned());
            }
            Injection::InPrivateNetwork | Injection::Always => {}
        }
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(KOBJECT_UEVENT))
            .map_err(|error| format!("no netlink socket: {error}"))?;
        let injector = Self(socket);
        // A message over the kernel's limit is refused as such where events are accepted, and as forbidden where they are
        // not: either way nobody receives it.
        match injector.send(&[0; UEVENT_BUFFER_SIZE + 1]) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err("the process has no CAP_SYS_ADMIN over its network namespace".to_owned())
            }
            _ => Ok(injector),
        }
    }

    pub(super) fn inject(&self, event: &Uevent) -> io::Result<()> {
        self.send(&event.unnumbered())
    }

    /// Sends one message and reads the kernel's answer, which is there when `sendto` returns
    /// (kernel: `net/netlink/af_netlink.c`, `netlink_unicast_kernel`).
    fn send(&self, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(HEADER + payload.len()).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(HEADER + payload.len());
        message.extend_from_slice(&length.to_ne_bytes());
        message.extend_from_slice(&TYPE.to_ne_bytes());
        message.extend_from_slice(&FLAGS.to_ne_bytes());
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(payload);
        sendto(&self.0, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;

        let mut answer = [0_u8; 4096];
        let (_, length) = recv(&self.0, &mut answer, RecvFlags::empty())?;
        // `struct nlmsgerr`: a negative errno, or 0, after the header.
        let code = answer.get(HEADER..HEADER + 4).filter(|_| length >= HEADER + 4);
        match code.and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
            None => Err(io::Error::other("the kernel's answer to an injected event is too short")),
        }
    }
}

/// Whether this thread is in the network namespace of process 1. A process that may not look at process 1 but may inject
/// lives in a user namespace of its own, and its network namespace with it.
fn shares_network_with_init() -> bool {
    match (fs::read_link("/proc/thread-self/ns/net"), fs::read_link("/proc/1/ns/net")) {
        (Ok(own), Ok(init)) => own == init,
        _ => false,
    }
}
