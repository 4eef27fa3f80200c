//! Discovery: the whole host, and the ways to read many small files.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::{
    ffi::CString,
    fs,
    hint::black_box,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};
use vfiod::discovery::{HostRoot, Remembered, look_again, scan};
use vfiod_benches::ring_reader::RingReader;
use vfiod_simulator::node::{Node, PciFleet};

const SIZES: [usize; 3] = [1024, 4096, 16_384];
/// Attributes of a device, as discovery reads them.
const FILES: [&str; 4] = ["vendor", "device", "class", "numa_node"];

/// The attributes of all devices in a list.
fn attributes(list: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(list).into_iter().flatten().flatten();
    entries.flat_map(|entry| FILES.map(|file| entry.path().join(file))).filter(|path| path.exists()).collect()
}

/// The ways to read the same files.
fn ways(c: &mut Criterion, name: &str, size: usize, files: &[PathBuf]) {
    let mut group = c.benchmark_group(name);
    group.sample_size(10);
    group.throughput(Throughput::Elements(files.len() as u64));
    group.bench_function(BenchmarkId::new("naive: std::fs::read", size), |b| {
        b.iter(|| files.iter().filter_map(|file| fs::read(file).ok()).map(|text| text.len()).sum::<usize>());
    });
    group.bench_function(BenchmarkId::new("open, read, close into one buffer", size), |b| {
        let mut buffer = [0; 4096];
        b.iter(|| {
            let read = |file: &PathBuf| {
                let file = rustix::fs::open(file, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).ok()?;
                rustix::io::read(file, &mut buffer).ok()
            };
            files.iter().filter_map(read).sum::<usize>()
        });
    });
    let paths: Vec<CString> = files.iter().filter_map(|file| CString::new(file.as_os_str().as_bytes()).ok()).collect();
    for depth in [32, 256] {
        let Ok(mut reader) = RingReader::new(depth) else {
            eprintln!("io_uring is refused here: not measured");
            continue;
        };
        group.bench_function(BenchmarkId::new(format!("io_uring, {depth} at a time"), size), |b| {
            b.iter(|| {
                let mut sum = 0;
                let read = reader.read(&paths, |_, text| sum += text.len());
                (read.is_ok(), sum)
            });
        });
    }
    group.finish();
}

fn simulated(c: &mut Criterion) {
    for size in SIZES {
        let Ok(node) =
            Node::builder().pci_fleet(&PciFleet::new("10DE:1EB8", size).driver("vfio-pci").numa_nodes(2)).build()
        else {
            eprintln!("no room for a node of {size} devices: not measured");
            continue;
        };
        ways(c, "files/simulated", size, &attributes(&node.path("sys/bus/pci/devices")));
        let mut group = c.benchmark_group("scan/simulated");
        group.sample_size(10);
        group.throughput(Throughput::Elements(size as u64));
        let root = HostRoot::new(node.root());
        group.bench_function(BenchmarkId::new("everything read", size), |b| {
            b.iter(|| scan(black_box(&root)).devices.len());
        });
        if let Some(file) = look_again(&root, Remembered::default).found.encode(&root) {
            group.bench_function(BenchmarkId::new("remembered", size), |b| {
                let recall = || Remembered::decode(black_box(&file), &root).unwrap_or_default();
                b.iter(|| look_again(&root, recall).scan.devices.len());
            });
        }
        group.finish();
    }
}

/// This machine's own `/sys`, whatever devices it has.
fn real(c: &mut Criterion) {
    let mut files = attributes(Path::new("/sys/bus/pci/devices"));
    if files.is_empty() {
        files = ["/sys/class/net", "/sys/class/block", "/sys/class/tty"]
            .iter()
            .flat_map(|class| fs::read_dir(class).into_iter().flatten().flatten())
            .map(|entry| entry.path().join("uevent"))
            .filter(|path| path.exists())
            .collect();
    }
    let files: Vec<PathBuf> = files.iter().cycle().take(4096.min(files.len() * 64)).cloned().collect();
    ways(c, "files/real-sysfs", files.len(), &files);
}

criterion_group!(benches, simulated, real);
criterion_main!(benches);
