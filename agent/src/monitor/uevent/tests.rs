use super::*;
use crate::io::{IoMode, Runtime};
use rustix::net::{SendFlags, sendto, sockopt::socket_recv_buffer_size};
use std::time::Duration;
use vfiod_core::device::DeviceId;

/// Sends events to the kernel, which broadcasts them in this network namespace as its own.
struct Injector(OwnedFd);

impl Injector {
    fn new() -> Self {
        let kind = SocketType::RAW;
        let socket =
            socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, Some(netlink::KOBJECT_UEVENT)).unwrap();
        bind(&socket, &SocketAddrNetlink::new(0, 0)).unwrap();
        Self(socket)
    }

    /// The kernel appends `SEQNUM=`, and refuses a message that has one (`lib/kobject_uevent.c`, `uevent_net_rcv_skb`).
    fn inject(&self, fields: &[u8]) {
        let mut message = Vec::new();
        let length = 16 + u32::try_from(fields.len()).unwrap();
        message.extend(length.to_ne_bytes());
        // Only requests (flag 1) that are no control messages (type 16 and up) reach the kernel's handler
        // (`net/netlink/af_netlink.c`, `netlink_rcv_skb`).
        message.extend(16_u16.to_ne_bytes());
        message.extend(1_u16.to_ne_bytes());
        message.extend([0_u8; 8]);
        message.extend(fields);
        sendto(&self.0, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).unwrap();
    }

    fn bind_of(&self, device: &str) {
        let path = format!("/devices/pci0000:00/{device}");
        self.inject(format!("bind@{path}\0ACTION=bind\0DEVPATH={path}\0SUBSYSTEM=pci\0").as_bytes());
    }
}

/// Runs a scenario in both modes, in a network namespace of its own, where nobody else's events arrive.
fn in_both_modes(scenario: impl AsyncFn(Injector) + Send + Sync + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: a new network namespace of this thread shares no memory or descriptors differently from before.
        let alone = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) };
        if let Err(errno) = alone {
            assert!(std::env::var_os("VFIOD_NO_SKIP").is_none(), "injecting uevents needs root ({errno})");
            eprintln!("SKIPPED: injecting uevents needs root ({errno})");
            return;
        }
        for mode in [IoMode::Auto, IoMode::Plain] {
            let (runtime, _) = Runtime::start(mode).unwrap();
            runtime.block_on(scenario(Injector::new()));
        }
    });
    thread.join().unwrap();
}

async fn batch(socket: &mut UeventSocket) -> Batch {
    tokio::time::timeout(Duration::from_secs(10), socket.next_batch()).await.expect("a batch arrives").unwrap()
}

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

#[test]
fn events_of_the_kernel_arrive_in_order_and_together() {
    in_both_modes(async |injector| {
        let mut socket = UeventSocket::open().unwrap();
        for function in 0..8 {
            injector.bind_of(&format!("0000:00:05.{function}"));
        }
        let batch = batch(&mut socket).await;
        let devices: Vec<_> = batch.events.iter().flat_map(|event| event.devices.clone()).collect();
        let all: Vec<_> = (0..8).map(|function| id(&format!("0000:00:05.{function}"))).collect();
        assert_eq!(devices, all);
        assert!(batch.events.iter().all(|event| event.action == Action::Bind));
        assert!(!batch.overrun && batch.malformed == 0);
    });
}

#[test]
fn a_malformed_event_and_a_foreign_one_do_not_stop_the_rest() {
    in_both_modes(async |injector| {
        let mut socket = UeventSocket::open().unwrap();
        injector.inject(b"nonsense\0\xff\xff\0");
        injector.inject(b"add@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=net\0");
        injector.bind_of("0000:00:05.0");
        let batch = batch(&mut socket).await;
        assert_eq!(batch.malformed, 1);
        assert_eq!(batch.events.len(), 1);
        assert_eq!(batch.events[0].devices, [id("0000:00:05.0")]);
    });
}

#[test]
fn what_another_process_sends_is_not_believed() {
    in_both_modes(async |injector| {
        let mut socket = UeventSocket::open().unwrap();
        let forged = b"remove@/devices/pci0000:00/0000:00:05.0\0ACTION=remove\0DEVPATH=/devices/pci0000:00/0000:00:05.0\0SUBSYSTEM=pci\0";
        let group = SocketAddrNetlink::new(0, KERNEL_GROUP);
        // With the group as destination the kernel passes the datagram on under the sender's own port.
        sendto(&injector.0, forged, SendFlags::empty(), &group).unwrap();
        injector.bind_of("0000:00:06.0");
        let batch = batch(&mut socket).await;
        assert_eq!(batch.events.len(), 1, "{batch:?}");
        assert_eq!(batch.events[0].devices, [id("0000:00:06.0")]);
    });
}

#[test]
fn an_overrun_is_told_and_later_events_still_arrive() {
    in_both_modes(async |injector| {
        let mut socket = UeventSocket::with_buffer(4096).unwrap();
        for number in 0..2000 {
            injector.bind_of(&format!("0000:{:02x}:{:02x}.{}", number / 256, (number / 8) % 32, number % 8));
        }
        let first = batch(&mut socket).await;
        assert!(first.overrun);
        assert!(first.events.len() < 2000, "what fitted is not lost: {}", first.events.len());
        injector.bind_of("0000:ff:1f.7");
        let second = batch(&mut socket).await;
        assert!(!second.overrun);
        assert_eq!(second.events[0].devices, [id("0000:ff:1f.7")]);
    });
}

#[test]
fn the_usual_buffer_holds_the_storm_of_many_functions() {
    in_both_modes(async |injector| {
        let mut socket = UeventSocket::open().unwrap();
        assert!(socket_recv_buffer_size(socket.socket.get_ref()).unwrap() >= RECEIVE_BUFFER);
        for number in 0..5000 {
            injector.bind_of(&format!("0000:{:02x}:{:02x}.{}", number / 256, (number / 8) % 32, number % 8));
        }
        let mut seen = 0;
        while seen < 5000 {
            let batch = batch(&mut socket).await;
            assert!(!batch.overrun, "after {seen}");
            seen += batch.events.len();
        }
    });
}

#[test]
fn cancelled_waits_lose_nothing() {
    in_both_modes(async |injector| {
        let mut socket = UeventSocket::open().unwrap();
        let mut seen = 0;
        for _ in 0..100 {
            injector.bind_of("0000:00:05.0");
            tokio::select! {
                biased;
                batch = socket.next_batch() => seen += batch.unwrap().events.len(),
                () = tokio::task::yield_now() => {}
            }
        }
        while seen < 100 {
            seen += batch(&mut socket).await.events.len();
        }
        assert_eq!(seen, 100);
    });
}
