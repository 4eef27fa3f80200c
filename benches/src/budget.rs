//! Where the time of each path goes: processor time and wake-ups by thread, system calls, and the parts of vfiod's own work.
//!
//! Processor time is the kernel's own account (`/proc/PID/task/*/schedstat`), so it says the same on a machine that does
//! other work, where the time until an answer does not.

use crate::{
    client,
    fleet::{Fleet, NOW},
    host::Host,
    kubelet::Kubelet,
    measure::{self, Dice, Subject, all_plugins, make},
    sample::{Sample, median},
    server::{Contestant, Server, Thread},
    strace::Strace,
    wire,
};
use anyhow::{Context, Result};
use std::{collections::BTreeMap, fmt::Write as _, fs, hint::black_box, time::Instant};
use vfiod_core::{
    allocator::{Register, put_allocate_response, wire as core_wire},
    device::Node,
};

/// Devices of the one resource.
const DEVICES: usize = 4096;
/// Resources of the restart, and the devices of each.
const RESOURCES: usize = 64;
const OF_EACH: usize = 16;

/// What one path took, for each time it was gone.
#[derive(Debug)]
struct Cost {
    /// Until the answer, median, in microseconds.
    answer: f64,
    /// By name of the thread: microseconds of processor time, and how often it was woken.
    threads: BTreeMap<String, (f64, f64)>,
    /// By name.
    calls: Option<BTreeMap<String, f64>>,
}

/// What is done on a path, again and again.
type Work<'w> = &'w mut dyn FnMut(&mut Subject<'_>) -> Result<()>;

/// Prints the budget of each path, of vfiod and the floor.
///
/// # Errors
/// When one of them does not do its work.
pub fn budget(vfiod: &Contestant, floor: &Contestant, quick: bool) -> Result<()> {
    let host = Host::build(DEVICES, 1)?;
    let less = if quick { 5 } else { 1 };
    let one = requests(&host, 1)?;
    let several = requests(&host, 8)?;
    let ids = host.ids();
    let wish = vec![wire::preferred_request(shuffled(&ids).iter().map(String::as_str), 8)];
    let nodes: Vec<_> = ids.iter().filter_map(|id| host.node_of(id)).collect();
    for (name, method, count, requests) in [
        ("Allocate of 1 device", client::ALLOCATE, 4000, &one),
        ("Allocate of 8 devices", client::ALLOCATE, 4000, &several),
        ("GetPreferredAllocation of 8 among 4,096", client::PREFERRED, 1000, &wish),
    ] {
        let mut answer = Vec::new();
        let mut cycle = requests.iter().cycle();
        let mut work = |subject: &mut Subject<'_>| {
            let request = cycle.next().context("no requests")?;
            subject.client.call_into(method, request, &mut answer)
        };
        both(name, [vfiod, floor], &host, count / less, &mut work)?;
    }
    // A hundred lists at once are let through, and twenty a second: the work does not get that far.
    let mut dice = Dice::new(5);
    let mut flip = |subject: &mut Subject<'_>| {
        let node = nodes.get(dice.below(nodes.len())).context("no nodes")?;
        fs::remove_file(node)?;
        subject.client.next_list()?;
        make(subject.host, node)?;
        subject.client.next_list()?;
        Ok(())
    };
    both("a node that goes and comes back: two lists of 4,096", [vfiod, floor], &host, 20, &mut flip)?;
    let mut burst = |subject: &mut Subject<'_>| measure::burst(subject, &nodes).map(drop);
    both("all 4,096 nodes at once, and back", [vfiod, floor], &host, 1, &mut burst)?;
    restart(vfiod, if quick { 3 } else { 10 })?;
    parts();
    Ok(())
}

/// The ids of a host in an order that no cache foresees: a kubelet offers a set.
fn shuffled(ids: &[String]) -> Vec<String> {
    let (mut ids, mut dice) = (ids.to_vec(), Dice::new(11));
    (1..ids.len()).rev().for_each(|place| ids.swap(place, dice.below(place + 1)));
    ids
}

fn requests(host: &Host, count: usize) -> Result<Vec<Vec<u8>>> {
    let (ids, mut dice) = (host.ids(), Dice::new(7));
    Ok((0..512).map(|_| wire::allocate_request(dice.pick(&ids, count))).collect())
}

/// Goes a path with both, each started fresh, and prints what it took.
fn both(name: &str, contestants: [&Contestant; 2], host: &Host, count: usize, work: Work<'_>) -> Result<()> {
    println!("\n{name}");
    for contestant in contestants {
        let kubelet_dir = host.kubelet_dir()?;
        let mut kubelet = Kubelet::start(kubelet_dir.path())?;
        let (server, plugin, ids, _) = measure::start(contestant, host, &mut kubelet, kubelet_dir.path())?;
        let mut subject = Subject { server: &server, client: plugin.client, host, ids };
        let cost =
            cost(&mut subject, count, work).with_context(|| format!("{} said:\n{}", contestant.name, server.said()))?;
        println!("  {:<8} {}", contestant.name, cost.told());
        drop(subject);
        server.stop()?;
    }
    Ok(())
}

fn cost(subject: &mut Subject<'_>, count: usize, work: Work<'_>) -> Result<Cost> {
    for _ in 0..count.div_ceil(10) {
        work(subject)?;
    }
    let before = subject.server.threads()?;
    let mut sample = Sample::default();
    for _ in 0..count {
        let begun = Instant::now();
        work(subject)?;
        sample.add(begun.elapsed());
    }
    measure::settle();
    let threads = spent(&before, &subject.server.threads()?, count as f64);
    let few = count.min(200);
    let calls = match Strace::attach(subject.server)? {
        None => None,
        Some(strace) => {
            (0..few).try_for_each(|_| work(subject))?;
            measure::settle();
            Some(strace.counts()?.into_iter().map(|(name, calls)| (name, calls as f64 / few as f64)).collect())
        }
    };
    Ok(Cost { answer: sample.quantile(0.5), threads, calls })
}

/// What each thread used since `before`, by its name and for each of `count` times.
fn spent(before: &[Thread], after: &[Thread], count: f64) -> BTreeMap<String, (f64, f64)> {
    let mut spent: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for thread in after {
        let (nanos, wakes) = before.iter().find(|old| old.id == thread.id).map_or((0, 0), |old| (old.nanos, old.wakes));
        let entry = spent.entry(thread.name.clone()).or_default();
        entry.0 += (thread.nanos - nanos) as f64 / 1e3 / count;
        entry.1 += (thread.wakes - wakes) as f64 / count;
    }
    spent.retain(|_, (micros, _)| *micros > 0.05);
    spent
}

impl Cost {
    fn told(&self) -> String {
        let mut text = format!("answered in {:.1} us; processor", self.answer);
        for (name, (micros, wakes)) in &self.threads {
            let _ = write!(text, " {name} {micros:.1} us ({wakes:.2} wake-ups)");
        }
        match &self.calls {
            None => text.push_str("; system calls not counted: no strace"),
            Some(calls) => {
                let _ = write!(text, "\n           {:.1} system calls:", calls.values().sum::<f64>());
                let mut calls: Vec<(&String, &f64)> = calls.iter().filter(|(_, count)| **count >= 0.05).collect();
                calls.sort_by(|one, other| other.1.total_cmp(one.1));
                for (name, count) in calls {
                    let _ = write!(text, " {name} {count:.1}");
                }
            }
        }
        text
    }
}

/// The restart of a kubelet with many resources, for each resource.
fn restart(vfiod: &Contestant, times: usize) -> Result<()> {
    println!("\n{RESOURCES} resources registered again, for each of them");
    let host = Host::build(RESOURCES * OF_EACH, RESOURCES)?;
    let kubelet_dir = host.kubelet_dir()?;
    let mut kubelet = Kubelet::start(kubelet_dir.path())?;
    let server = vfiod.start(&host, kubelet_dir.path())?;
    let mut plugins = all_plugins(&mut kubelet, &host)?;
    let mut once = |kubelet: &mut Kubelet, server: &Server| -> Result<(f64, Vec<Thread>)> {
        plugins.clear();
        measure::kubelet_is_gone(kubelet);
        let before = server.threads()?;
        let begun = Instant::now();
        kubelet.restart()?;
        plugins = all_plugins(kubelet, &host)?;
        Ok((begun.elapsed().as_secs_f64() * 1e6 / RESOURCES as f64, before))
    };
    let (mut answers, mut threads) = (Vec::new(), BTreeMap::new());
    for _ in 0..times {
        let (took, before) = once(&mut kubelet, &server)?;
        answers.push(took);
        measure::settle();
        threads = spent(&before, &server.threads()?, RESOURCES as f64);
    }
    let calls = match Strace::attach(&server)? {
        None => None,
        Some(strace) => {
            once(&mut kubelet, &server)?;
            Some(strace.counts()?.into_iter().map(|(name, calls)| (name, calls as f64 / RESOURCES as f64)).collect())
        }
    };
    println!("  {:<8} {}", vfiod.name, Cost { answer: median(&answers), threads, calls }.told());
    server.stop()
}

/// The parts of vfiod's own work, without HTTP/2 and the kernel.
fn parts() {
    println!("\nvfiod's own part of these, without HTTP/2 and the kernel (us)");
    let mut fleet = Fleet::new(DEVICES as u32);
    let texts = fleet.texts();
    let register = Register::default();
    for count in [1, 8] {
        let request = wire::allocate_request(texts.iter().map(String::as_str).skip(100).step_by(97).take(count));
        part(&format!("Allocate of {count}: request read"), || {
            core_wire::allocate_request(black_box(&request)).map(drop).is_ok()
        });
        let Ok(requests) = core_wire::allocate_request(&request) else { continue };
        part(&format!("Allocate of {count}: devices found, judged and claimed"), || {
            let granted = register.grant(&fleet.resource, &requests, NOW).is_ok();
            register.take();
            granted
        });
        let grants = register.grant(&fleet.resource, &requests, NOW).unwrap_or_default();
        let mut answer = Vec::with_capacity(2048);
        part(&format!("Allocate of {count}: answer put together"), || {
            answer.clear();
            put_allocate_response(&mut answer, &fleet.resource, &grants);
            answer.len()
        });
        fleet.claims_end();
    }
    let wish = wire::preferred_request(shuffled(&texts).iter().map(String::as_str), 8);
    let containers = core_wire::preferred_requests(&wish).unwrap_or_default();
    let mut answer = Vec::with_capacity(256);
    part("GetPreferredAllocation: ids found and chosen from", || {
        answer.clear();
        containers.iter().all(|container| fleet.resource.prefer_encoded(container, NOW, &mut answer).is_ok())
    });
    let mut number = 0;
    part("a node goes or comes: judged and marked", || {
        number += 1;
        fleet.inventory.node_changed(&Node::Group((number - 1) / 2 % DEVICES as u32), number % 2 == 0);
        fleet.inventory.settle(NOW * number).transitions.len()
    });
    part("a list of 4,096 devices copied whole, which only a burst needs", || fleet.resource.list().to_bytes());
}

/// Times a part: the median of batches.
fn part<T>(name: &str, mut work: impl FnMut() -> T) {
    const BATCH: u32 = 200;
    let batch = || {
        let begun = Instant::now();
        (0..BATCH).for_each(|_| drop(black_box(work())));
        begun.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH)
    };
    let batches: Vec<f64> = std::iter::repeat_with(batch).take(15).collect();
    println!("  {name:<66} {:>8.2}", median(&batches));
}
