//! What an event touches: the fold of health, the list, the reload.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use std::hint::black_box;
use vfiod_benches::fleet::{Fleet, NOW, permit};
use vfiod_core::{allocator::Resource, device::Node};
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

criterion_group!(benches, health, lists, reload);
criterion_main!(benches);
