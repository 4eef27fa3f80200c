//! A vfiod that is started again reads only what has changed before its first list, and everything a moment later.

use crate::scene::*;
use std::{fs, path::Path, time::Instant};
use vfiod_simulator::{
    kubelet::{Health, Kubelet, KubeletVersion},
    node::Node,
};
use vfiod_tests::{Agent, agent::PATIENCE};

const KEPT: &str = "0000:3b:00.0";
const CHANGED: &str = "0000:3c:00.0";
const PLUGGED: &str = "0000:3d:00.0";

fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_second_start_believes_what_is_unchanged_reads_what_is_not_and_looks_at_all_of_it_after_the_first_list() {
    // In memory, where no entry gets the number of an earlier one, as in sysfs.
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let builder = Node::builder().at(folder.path().join("host"));
    let node = builder.pci(qat(KEPT, 11).numa(0)).pci(qat(CHANGED, 12).numa(0)).build().unwrap();
    let kubelet_dir = folder.path().join("kubelet");
    let kubelet = Kubelet::builder(&kubelet_dir).version(KubeletVersion::Newer).start().await.unwrap();
    let state_dir = folder.path().join("state");
    let start = |config: &str| {
        let builder = Agent::builder(node.root(), &kubelet_dir, config).state_dir(&state_dir);
        builder.flag("--rescan", "1h").start().unwrap()
    };
    let mut first = start(&usual_config());
    kubelet.wait_for("both devices", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    let facts = state_dir.join("facts");
    until("what was found is kept", || facts.is_file());
    first.terminate().unwrap();
    assert!(!first.log().contains("was not read"), "there was nothing to be remembered");

    // While no vfiod runs: one device loses its driver, one is plugged, and of one something changes that no entry tells.
    node.unbind(CHANGED).unwrap();
    node.plug(qat(PLUGGED, 13).numa(0)).unwrap();
    fs::write(node.device_path(KEPT).unwrap().join("numa_node"), "1\n").unwrap();
    let lists_before = kubelet.watch(QAT).len();
    let second = start(&usual_config());
    let numa = |id: &'static str, node: i64| {
        kubelet.wait_for("the NUMA node", PATIENCE, move |state| {
            state.devices(QAT).get(id).is_some_and(|device| device.numa == [node])
        })
    };
    numa(KEPT, 1).await.unwrap();
    second.wait_for_log("was not read").unwrap();
    let lists = kubelet.watch(QAT).split_off(lists_before);
    let first_list = &lists[0];
    // What the first list says of the changed devices is true already.
    assert_eq!((first_list.healthy, first_list.unhealthy), (2, 0), "{lists:?}");
    let now = kubelet.devices(QAT);
    let health = |id: &str| now.get(id).map(|device| device.health);
    assert_eq!([KEPT, CHANGED, PLUGGED].map(health), [Some(Health::Healthy), None, Some(Health::Healthy)]);
    until("what was found then is kept", || is_newer(&facts, &lists[0].received));
}

/// Whether a file has been written since.
fn is_newer(file: &Path, than: &Instant) -> bool {
    let age = fs::metadata(file).unwrap().modified().unwrap().elapsed().unwrap_or_default();
    age < than.elapsed()
}
