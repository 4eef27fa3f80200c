//! What a request touches: claims, the index, advice.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dashmap::DashMap;
use prost::Message;
use std::{
    collections::{BTreeMap, HashMap},
    hint::black_box,
    sync::{Arc, Barrier, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};
use vfiod_benches::{
    fleet::{Fleet, NOW},
    wire::{allocate_request, preferred_request},
};
use vfiod_core::allocator::{ClaimState, GroupWord, Register, put_allocate_response, wire};
use vfiod_proto::deviceplugin::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse, DeviceSpec, PreferredAllocationRequest,
};

const SIZES: [u32; 3] = [1024, 4096, 16_384];

/// Runs `work` on some threads at once, `rounds` times each; the time of the slowest.
fn together(threads: usize, rounds: u64, work: impl Fn(usize) + Sync) -> Duration {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let run = |number| {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                let begun = Instant::now();
                (0..rounds).for_each(|_| work(number));
                begun.elapsed()
            })
        };
        let running: Vec<_> = (0..threads).map(run).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).max().unwrap_or_default()
    })
}

/// A claim and its release, by threads that want the same group or different ones.
fn claims(c: &mut Criterion) {
    const GROUPS: usize = 4096;
    let words: Vec<GroupWord> = (0..GROUPS).map(|_| GroupWord::default()).collect();
    let padded: Vec<crossbeam::utils::CachePadded<GroupWord>> = (0..GROUPS).map(|_| Default::default()).collect();
    let locked: Mutex<HashMap<usize, u64>> = Mutex::default();
    let sharded: DashMap<usize, u64> = DashMap::new();
    for (name, stride) in [("claim-release/disjoint", 1), ("claim-release/contended", 0)] {
        let mut group = c.benchmark_group(name);
        for threads in [1usize, 2, 4, 8] {
            let word_of = |word: Option<&GroupWord>| {
                if let Some(word) = word {
                    word.claim(NOW);
                    word.settle(word.load(), ClaimState::Free);
                }
            };
            group.bench_function(BenchmarkId::new("atomic word", threads), |b| {
                b.iter_custom(|rounds| together(threads, rounds, |thread| word_of(words.get(thread * stride))));
            });
            group.bench_function(BenchmarkId::new("atomic word, padded", threads), |b| {
                b.iter_custom(|rounds| {
                    together(threads, rounds, |thread| word_of(padded.get(thread * stride).map(|word| &**word)))
                });
            });
            group.bench_function(BenchmarkId::new("naive: mutex and HashMap", threads), |b| {
                b.iter_custom(|rounds| {
                    together(threads, rounds, |thread| {
                        let lock = || locked.lock().unwrap_or_else(PoisonError::into_inner);
                        lock().insert(thread * stride, 1);
                        lock().remove(&(thread * stride));
                    })
                });
            });
            group.bench_function(BenchmarkId::new("naive: dashmap", threads), |b| {
                b.iter_custom(|rounds| {
                    together(threads, rounds, |thread| {
                        sharded.insert(thread * stride, 1);
                        sharded.remove(&(thread * stride));
                    })
                });
            });
        }
        group.finish();
    }
}

/// From an id as it came to its device.
fn index(c: &mut Criterion) {
    let mut group = c.benchmark_group("index-lookup");
    for size in SIZES {
        let fleet = Fleet::new(size);
        let texts = fleet.texts();
        let table = fleet.resource.table();
        let map: HashMap<String, usize> = texts.iter().cloned().zip(0..).collect();
        let tree: BTreeMap<String, usize> = texts.iter().cloned().zip(0..).collect();
        let sharded: DashMap<String, usize> = texts.iter().cloned().zip(0..).collect();
        let mut asked: Vec<&String> = texts.iter().collect();
        // An order that no cache foresees.
        asked.sort_by_key(|text| text.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())));
        group.throughput(Throughput::Elements(asked.len() as u64));
        group.bench_with_input(BenchmarkId::new("packed", size), &asked, |b, asked| {
            b.iter(|| asked.iter().filter(|text| table.named(black_box(text.as_bytes())).is_some()).count());
        });
        group.bench_with_input(BenchmarkId::new("naive: HashMap of texts", size), &asked, |b, asked| {
            b.iter(|| asked.iter().filter(|text| map.contains_key(black_box(text.as_str()))).count());
        });
        group.bench_with_input(BenchmarkId::new("naive: BTreeMap of texts", size), &asked, |b, asked| {
            b.iter(|| asked.iter().filter(|text| tree.contains_key(black_box(text.as_str()))).count());
        });
        group.bench_with_input(BenchmarkId::new("naive: dashmap of texts", size), &asked, |b, asked| {
            b.iter(|| asked.iter().filter(|text| sharded.contains_key(black_box(text.as_str()))).count());
        });
    }
    group.finish();
}

/// A whole `Allocate`, from bytes to bytes.
fn allocate(c: &mut Criterion) {
    let mut group = c.benchmark_group("allocate");
    let fleet = Fleet::new(4096);
    let texts = fleet.texts();
    for count in [1usize, 8] {
        let request = allocate_request(texts.iter().map(String::as_str).skip(100).step_by(97).take(count));
        let register = Register::default();
        group.bench_with_input(BenchmarkId::new("prepared", count), &request, |b, request| {
            b.iter(|| {
                let requests = wire::allocate_request(black_box(request)).unwrap_or_default();
                let grants = register.grant(&fleet.resource, &requests, NOW).unwrap_or_default();
                let mut answer = Vec::with_capacity(512);
                put_allocate_response(&mut answer, &fleet.resource, &grants);
                while register.take().is_some() {}
                answer
            });
        });
        group.bench_with_input(BenchmarkId::new("naive: prost", count), &request, |b, request| {
            b.iter(|| {
                let request = AllocateRequest::decode(black_box(request.as_slice())).unwrap_or_default();
                let requests: Vec<&Vec<String>> =
                    request.container_requests.iter().map(|container| &container.devices_ids).collect();
                let grants = register.grant(&fleet.resource, &requests, NOW).unwrap_or_default();
                let container_responses = grants.iter().map(|grant| {
                    let value = grant.slots.iter().map(|slot| slot.text()).collect::<Vec<_>>().join(",");
                    let mut response = ContainerAllocateResponse::default();
                    for name in &fleet.resource.variables().pci {
                        response.envs.insert(name.clone(), value.clone());
                    }
                    let paths = ["/dev/vfio/vfio".to_owned()]
                        .into_iter()
                        .chain(grant.slots.iter().flat_map(|slot| slot.nodes()));
                    response.devices = paths
                        .map(|path| DeviceSpec {
                            container_path: path.clone(),
                            host_path: path,
                            permissions: "mrw".to_owned(),
                        })
                        .collect();
                    response
                });
                let answer = AllocateResponse { container_responses: container_responses.collect() }.encode_to_vec();
                while register.take().is_some() {}
                answer
            });
        });
    }
    group.finish();
}

/// `GetPreferredAllocation` with everything offered.
fn preferred(c: &mut Criterion) {
    let mut group = c.benchmark_group("preferred");
    for size in SIZES {
        let fleet = Fleet::new(size);
        let texts = fleet.texts();
        let request = preferred_request(texts.iter().map(String::as_str), 8);
        group.throughput(Throughput::Elements(u64::from(size)));
        group.bench_with_input(BenchmarkId::new("bitmaps", size), &request, |b, request| {
            b.iter(|| {
                let mut answer = Vec::new();
                for container in wire::preferred_requests(black_box(request)).unwrap_or_default() {
                    let _ = fleet.resource.prefer_encoded(container, NOW, &mut answer);
                }
                answer
            });
        });
        group.bench_with_input(BenchmarkId::new("naive: texts, sorted", size), &request, |b, request| {
            b.iter(|| {
                let request = PreferredAllocationRequest::decode(black_box(request.as_slice())).unwrap_or_default();
                let table = fleet.resource.table();
                let mut offered: Vec<_> = request
                    .container_requests
                    .iter()
                    .flat_map(|container| &container.available_device_i_ds)
                    .filter_map(|id| table.get(id.parse().ok()?))
                    .map(Arc::clone)
                    .collect();
                offered.sort_by_key(|slot| (slot.numa(), slot.text().to_owned()));
                offered.truncate(8);
                offered
            });
        });
    }
    group.finish();
}

/// What a scan costs in memory, once: the fleet anew.
fn first_scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("inventory-first-scan");
    group.sample_size(10);
    for size in SIZES {
        group.throughput(Throughput::Elements(u64::from(size)));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_batched(|| size, Fleet::new, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, claims, index, allocate, preferred, first_scan);
criterion_main!(benches);
