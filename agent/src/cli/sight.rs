//! One look at the host: its devices, their owners, and what is permitted of them.

use super::Failure;
use crate::{
    discovery::{HostRoot, Scan, scan},
    holders::{Book, Tracker},
    io::FileIo,
    ownership::Sources,
    probe::CensusTaker,
};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use vfiod_core::{
    inventory::{Completeness, Inventory},
    ownership::{Reading, Source},
    permit::{DOCUMENT_MAX, Parsed, Permit, ServeMode, decode, parse},
};

/// What was seen.
pub(super) struct Sight {
    /// The devices with what is known of them, not yet settled.
    pub(super) inventory: Inventory,
    /// Lines for stderr.
    pub(super) notes: Vec<String>,
    /// Whether the host could be read in full.
    pub(super) complete: bool,
}

/// Looks at the host below `host_root` and at the kubelet of `kubelet_dir`, for about a second at most.
pub(super) async fn look(permit: Permit, host_root: &Path, kubelet_dir: &Path) -> Sight {
    let root = HostRoot::new(host_root);
    let mut sources = Sources::new(FileIo::Plain, kubelet_dir, root.path());
    let reading = sources.read(Duration::ZERO).await;
    let mut notes: Vec<String> = unknown_owners(kubelet_dir, &reading).into_iter().collect();

    let mut scan = scan(&root);
    notes.extend(scan.faults.iter().map(|fault| format!("fault: {fault}")));
    let complete = completeness(&scan);
    let nodes_known = scan.nodes.is_some();
    let mut inventory = Inventory::default();
    inventory.set_permit(Arc::new(permit));
    inventory.scanned(
        std::mem::take(&mut scan.devices),
        std::mem::take(&mut scan.groups),
        scan.nodes.take(),
        &complete,
    );
    inventory.observed(&reading);
    Sight { inventory, notes, complete: complete.pci && complete.mdev && nodes_known }
}

/// Adds to the inventory who has what open: from the kernel's own tables where that is allowed, else as far as `/proc`
/// shows it.
pub(super) fn hold(inventory: &mut Inventory, host_root: &Path, notes: &mut Vec<String>) -> Tracker {
    let root = HostRoot::new(host_root);
    let mut tracker = Tracker::default();
    let taker = match root.is_live().then(CensusTaker::from_kernel) {
        Some(Ok(taker)) => taker,
        Some(Err(absent)) => {
            notes.push(absent.to_string());
            CensusTaker::from_proc(&root)
        }
        None => CensusTaker::from_proc(&root),
    };
    match Book::new(root.clone()).take(&taker) {
        Ok(taken) => _ = tracker.census(&taken, SystemTime::now()),
        Err(error) => tracker.census_failed(format!("{}: {error}", root.proc().display())),
    }
    inventory.held_all(tracker.all());
    tracker
}

/// Reads a configuration; its bad entries are among the problems of the result.
///
/// # Errors
/// When the file cannot be read, or is rejected as a whole.
pub(super) async fn read_config(path: &Path, serve: ServeMode) -> Result<Parsed, Failure> {
    let bytes = FileIo::Plain.read(path, DOCUMENT_MAX).await.map_err(|error| {
        Failure::Error(format!("{}: cannot be read: {error}; name a readable file with --config", path.display()))
    })?;
    decode(&bytes)
        .and_then(|text| parse(text, serve))
        .map_err(|problem| Failure::Config(format!("{}:{problem}", path.display())))
}

/// The problems of a configuration, then its notices, a line each.
pub(super) fn findings(path: &Path, parsed: &Parsed) -> Vec<String> {
    let all = parsed.problems.iter().chain(&parsed.notices);
    all.map(|finding| format!("{}:{finding}", path.display())).collect()
}

fn completeness(scan: &Scan) -> Completeness {
    let unreadable = scan.faults.iter().filter_map(|fault| fault.device).collect();
    Completeness { pci: scan.complete.pci, mdev: scan.complete.mdev, unreadable }
}

/// One source is enough to know the owners; none is worth a word, because free and owned then look alike.
fn unknown_owners(kubelet_dir: &Path, reading: &Reading) -> Option<String> {
    let folder = kubelet_dir.join("device-plugins");
    let reason = match (&reading.checkpoint, &reading.pod_resources) {
        (_, Source::Read(_)) => return None,
        (Source::Unavailable(reason), _) => reason.clone(),
        (Source::Read(_), _) if folder.is_dir() => return None,
        (Source::Read(_), _) => format!("there is no folder {}", folder.display()),
    };
    Some(format!("owners are not known: {reason}; name the kubelet's folder with --kubelet-dir"))
}
