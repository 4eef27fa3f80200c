use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind,
    netlink::{KOBJECT_UEVENT, SocketAddrNetlink},
    recv, socket_with,
};

use super::*;

/// A socket that hears what the kernel broadcasts in this network namespace.
fn listener() -> OwnedFd {
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(KOBJECT_UEVENT)).unwrap();
    bind(&socket, &SocketAddrNetlink::new(0, 1)).unwrap();
    socket
}

/// The next message, as text. An injected event is delivered before the injection returns: nothing waits here.
fn hear(socket: &OwnedFd) -> Option<String> {
    let mut message = vec![0_u8; 8192];
    let (_, length) = recv(socket, &mut message, RecvFlags::DONTWAIT).ok()?;
    message.truncate(length);
    Some(String::from_utf8(message).unwrap())
}

/// A message without its last part, which is the number that the kernel gave it.
fn without_number(message: &str) -> &str {
    let (rest, number) = message.split_at(message.rfind("SEQNUM=").unwrap());
    assert!(number.trim_start_matches("SEQNUM=").trim_end_matches('\0').parse::<u64>().is_ok(), "{number:?}");
    rest
}

fn private_network() -> bool {
    match enter_private_network() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("SKIPPED: no private network namespace ({error}); run as root, or under unshare -Urn");
            false
        }
    }
}

#[test]
fn a_listener_hears_every_event_of_an_operation_in_order() {
    if !private_network() {
        return;
    }
    let node = gpu_with_audio().build().unwrap();
    assert_eq!(*node.uevents(), Delivery::Broadcast);
    let socket = listener();
    let mut events = node.unplug("0000:3a:00.0").unwrap();
    events.extend(node.plug(PciSpec::new("0000:5e:00.0", "8086:6F54").driver("vfio-pci")).unwrap());
    assert!(events.len() > 8);
    for event in &events {
        let heard = hear(&socket).unwrap_or_else(|| panic!("{event} was not heard"));
        assert_eq!(without_number(&heard), without_number(&String::from_utf8(event.datagram()).unwrap()));
    }
}

#[test]
fn networks_do_not_hear_each_other() {
    if !private_network() {
        return;
    }
    let node = gpu_with_audio().build().unwrap();
    let (ready, go) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let stranger = std::thread::spawn(move || {
        enter_private_network().unwrap();
        let socket = listener();
        ready.0.send(()).unwrap();
        go.1.recv().unwrap();
        hear(&socket)
    });
    ready.1.recv().unwrap();
    node.unbind("0000:3b:00.0").unwrap();
    go.0.send(()).unwrap();
    assert_eq!(stranger.join().unwrap(), None);
}

#[test]
fn the_machines_own_network_is_left_alone_unless_asked() {
    let node = gpu_with_audio().build().unwrap();
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    if fs::read_link("/proc/1/ns/net").is_ok_and(|init| init == own) {
        assert!(matches!(node.uevents(), Delivery::ReturnedOnly(reason) if reason.contains("own network")));
    }
    let silent = gpu_with_audio().injection(Injection::Never).build().unwrap();
    assert!(matches!(silent.uevents(), Delivery::ReturnedOnly(_)));
}
