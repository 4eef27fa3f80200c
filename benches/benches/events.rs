//! What an event touches: the fold of health, the list, the reload.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, SystemTime},
};
use vfiod::{
    holders::{Taken, Tracker},
    probe::{Census, Event, EventKind, Opening, Source},
};
use vfiod_benches::fleet::{Fleet, NOW, permit};
use vfiod_core::{
    allocator::Resource,
    device::Node,
    holding::{Place, Process},
};
use vfiod_proto::{
    HEALTHY, UNHEALTHY,
    deviceplugin::{Device, ListAndWatchResponse, NumaNode, TopologyInfo},
};

const SIZES: [u32; 3] = [1024, 4096, 16_384];

/// One node goes and comes back: from the fact to the verdict.
fn health(c: &mut Criterion) {
    let mut group = c.benchmark_group("health-fold");
    for size in SIZES {
        let mut fleet = Fleet::new(size);
        group.bench_function(BenchmarkId::new("what the event touches", size), |b| {
            let mut number = 0;
            b.iter(|| {
                number = (number + 1) % size;
                fleet.inventory.node_changed(&Node::Group(number), false);
                let gone = fleet.inventory.settle(NOW).transitions.len();
                fleet.inventory.node_changed(&Node::Group(number), true);
                (gone, fleet.inventory.settle(NOW).transitions.len())
            });
        });
        group.sample_size(10);
        group.bench_function(BenchmarkId::new("naive: look at everything", size), |b| b.iter(|| fleet.scan()));
    }
    group.finish();
}

/// The message as the ordinary way makes it.
fn ordinary(resource: &Resource) -> Vec<u8> {
    let table = resource.table();
    let devices = table.slots().iter().map(|slot| Device {
        id: slot.text().to_owned(),
        health: if slot.is_healthy() { HEALTHY } else { UNHEALTHY }.to_owned(),
        topology: slot.numa().map(|node| TopologyInfo { nodes: vec![NumaNode { id: node.into() }] }),
    });
    ListAndWatchResponse { devices: devices.collect() }.encode_to_vec()
}

/// A `ListAndWatch` message: all healthy, one unhealthy, all unhealthy.
fn lists(c: &mut Criterion) {
    for (name, ill) in [("list/full", 0), ("list/one-flip", 1), ("list/all-unhealthy", u32::MAX)] {
        let mut group = c.benchmark_group(name);
        for size in SIZES {
            let mut fleet = Fleet::new(size);
            for number in 0..size.min(ill) {
                fleet.inventory.node_changed(&Node::Group(number), false);
            }
            fleet.inventory.settle(NOW);
            group.throughput(Throughput::Bytes(fleet.resource.list().encoded_len() as u64));
            group.bench_function(BenchmarkId::new("assembled", size), |b| {
                b.iter(|| fleet.resource.list().to_bytes());
            });
            group.bench_function(BenchmarkId::new("naive: encoded again", size), |b| {
                b.iter(|| ordinary(black_box(&fleet.resource)));
            });
        }
        group.finish();
    }
}

/// A configuration with one resource more and one less.
fn reload(c: &mut Criterion) {
    let mut group = c.benchmark_group("reload");
    group.sample_size(20);
    for size in SIZES {
        let mut fleet = Fleet::new(size);
        let (one, other) = (permit(8), permit(9));
        group.bench_function(BenchmarkId::new("compared", size), |b| {
            let mut even = false;
            b.iter(|| {
                even = !even;
                fleet.inventory.set_permit(if even { one.clone() } else { other.clone() });
                fleet.inventory.settle(NOW).changed.len()
            });
        });
        group.bench_function(BenchmarkId::new("naive: built anew", size), |b| b.iter(|| Fleet::new(size)));
    }
    group.finish();
}

/// An event as the probe's ring buffer holds it (`vfiod_abi::Event`): a process has opened or released a device.
fn ring_event(number: u32, opened: bool) -> Vec<u8> {
    let field = |text: String, length: usize| {
        let mut field = text.into_bytes();
        field.resize(length, 0);
        field
    };
    let mut event = Vec::with_capacity(128);
    for number in [5_000, 0xffff_8880_0000_0000 | u64::from(number) << 12, 77, 2_000] {
        event.extend_from_slice(&u64::to_ne_bytes(number));
    }
    for number in [if opened { 4 } else { 6 }, 1000 + number, u32::from(opened), 1000 + number] {
        event.extend_from_slice(&u32::to_ne_bytes(number));
    }
    event.extend(field("qemu-system-x86".into(), vfiod_abi::COMMAND));
    event.extend(field(vfiod_benches::fleet::id(number).to_string(), vfiod_abi::NAME));
    event.extend(field(number.to_string(), vfiod_abi::GROUP));
    event
}

/// A process, as the book of processes has it.
fn holder(pid: u32) -> Arc<Process> {
    let command = "qemu-system-x86".into();
    Arc::new(Process { pid, started: Some(Duration::from_nanos(2_000)), command, place: Some(Place::default()) })
}

/// From an event's bytes to what is known to be open, where so many devices are.
fn event_decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("event-decode");
    for open in [16u32, 256, 4096] {
        let events: Vec<Event> =
            (0..open).filter_map(|number| Event::from_ring(&ring_event(number, true), 0)).collect();
        let openings = events.iter().map(|event| Opening {
            object: event.object,
            process: event.process.clone(),
            fds: 1,
            open_count: event.open_count,
        });
        let census = Census { source: Source::Kernel, openings: openings.collect(), hidden: Vec::new(), unreadable: 0 };
        let processes = events.iter().map(|event| holder(event.process.pid)).collect();
        let taken = Taken { census, processes };
        let mut tracker = Tracker::default();
        tracker.census(&taken, SystemTime::UNIX_EPOCH);
        assert_eq!(tracker.all().count(), open as usize, "the events must be understood");

        let (one, another) = (ring_event(open, true), ring_event(open, false));
        let process = holder(1000 + open);
        group.bench_function(BenchmarkId::new("one object changes", open), |b| {
            b.iter(|| {
                for bytes in [&one, &another] {
                    let Some(event) = Event::from_ring(black_box(bytes), 0) else { continue };
                    match event.kind {
                        EventKind::DeviceOpened => {
                            tracker.opened(&event.object, &process, event.open_count, SystemTime::UNIX_EPOCH)
                        }
                        _ => tracker.closed(&event.object, event.open_count),
                    };
                }
            });
        });
        group.bench_function(BenchmarkId::new("naive: look at all that is open", open), |b| {
            b.iter(|| {
                for bytes in [&one, &another] {
                    black_box(bytes);
                    tracker.census_begins();
                    tracker.census(&taken, SystemTime::UNIX_EPOCH);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, health, event_decode, lists, reload);
criterion_main!(benches);
