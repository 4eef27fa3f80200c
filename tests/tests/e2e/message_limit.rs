//! The kubelet receives 4 MiB and no more: past it the whole resource would be lost.

use crate::scene::*;
use std::{fs, os::unix::fs::symlink, path::Path, thread, time::Duration};
use tempfile::TempDir;
use vfiod_proto::KUBELET_RECEIVE_LIMIT;
use vfiod_simulator::{
    api_server::ApiServer,
    kubelet::{Kubelet, PodSpec},
    node::Node,
};
use vfiod_tests::Agent;

const VGPU: &str = "nvidia.com/vgpu";
/// A device with a NUMA node takes 57 bytes.
const MANY: usize = 75_000;

/// How long so many may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(240);

fn uuid(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// Mdevs as a kernel shows them, without what nobody reads: seventy-five thousand take long enough.
fn add_mdevs(root: &Path, numbers: std::ops::Range<usize>) {
    let parent = root.join("sys/devices/virtual/many/many");
    for number in numbers {
        let (uuid, group) = (uuid(number), 1_000_000 + number);
        let folder = parent.join(&uuid);
        fs::create_dir(&folder).unwrap();
        symlink("../mdev_supported_types/many-1", folder.join("mdev_type")).unwrap();
        symlink("../../../../../bus/mdev/drivers/vfio_mdev", folder.join("driver")).unwrap();
        symlink(format!("../../../../../kernel/iommu_groups/{group}"), folder.join("iommu_group")).unwrap();
        let listed = root.join("sys/bus/mdev/devices").join(&uuid);
        symlink(format!("../../../devices/virtual/many/many/{uuid}"), listed).unwrap();
        fs::hard_link(root.join("dev/vfio/vfio"), root.join(format!("dev/vfio/{group}"))).ok();
    }
}

#[tokio::test]
async fn more_devices_than_a_message_holds_are_cut_off_clearly_and_cost_no_other_resource() {
    let root = TempDir::new_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
    let node =
        Node::builder().at(root.path()).pci(qat("0000:3b:00.0", 11)).pci(qat("0000:3c:00.0", 12)).build().unwrap();
    let parent = node.path("sys/devices/virtual/many/many");
    fs::create_dir_all(parent.join("mdev_supported_types/many-1")).unwrap();
    fs::write(parent.join("mdev_supported_types/many-1/name"), "MANY\n").unwrap();
    fs::write(parent.join("numa_node"), "1\n").unwrap();
    thread::scope(|scope| {
        for half in [0..MANY / 2, MANY / 2..MANY] {
            scope.spawn(|| add_mdevs(root.path(), half));
        }
    });
    let config = pci_config(&[(QAT_ID, QAT)])
        + &format!("  mediatedDevices: [{{mdevNameSelector: MANY, resourceName: {VGPU}}}]\n");
    let folder = TempDir::new().unwrap();
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let server = ApiServer::start().unwrap();
    let agent = Agent::builder(node.root(), folder.path(), &config)
        .variable("KUBECONFIG", server.kubeconfig(folder.path()).unwrap().to_str().unwrap())
        .flag("--events", "true")
        .start()
        .unwrap();
    kubelet.wait_for("the other resource", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    kubelet.wait_for("as many as fit", PATIENCE, |state| state.allocatable(VGPU) > 0).await.unwrap();

    let listed = kubelet.allocatable(VGPU);
    let message = kubelet.watch(VGPU).pop().unwrap();
    // Room is kept for the day on which all are Unhealthy, which is two letters longer.
    let bytes = message.bytes;
    assert!((KUBELET_RECEIVE_LIMIT - 2 * MANY - 10_000..KUBELET_RECEIVE_LIMIT).contains(&bytes), "{bytes}");
    assert!((73_000..MANY).contains(&listed), "{listed}");
    agent.wait_for_log(&format!("{listed} devices are listed, {} do not fit", MANY - listed)).unwrap();
    assert!(kubelet.look(|state| state.is_connected(VGPU)), "the kubelet has taken it");
    let is_told = |server: &ApiServer| {
        server.events().iter().any(|event| event["reason"] == "ListTooLong" && event["note"].to_string().contains(VGPU))
    };
    server.wait_for("ListTooLong on the node", PATIENCE, is_told).unwrap();

    // It goes on working: allocations, changes, a restart of the kubelet.
    let spec = PodSpec::new("vms", "vm").container("compute", [(VGPU, 2), (QAT, 1)]);
    let pod = kubelet.admit(spec).await.unwrap();
    kubelet.start_container(pod.uid(), "compute").await.unwrap();
    let mine = pod.container("compute").unwrap().devices[VGPU][0].clone();
    let number = usize::from_str_radix(mine.rsplit_once('-').unwrap().1, 16).unwrap();
    fs::remove_file(node.path(&format!("dev/vfio/{}", 1_000_000 + number))).unwrap();
    kubelet.wait_for("one is Unhealthy", PATIENCE, |state| state.allocatable(VGPU) == listed - 1).await.unwrap();
    kubelet.restart().await.unwrap();
    kubelet
        .wait_for("all is listed again", PATIENCE, |state| {
            state.allocatable(VGPU) == listed - 1 && state.allocatable(QAT) == 2
        })
        .await
        .unwrap();
    assert!(kubelet.watch(VGPU).iter().all(|message| message.bytes < KUBELET_RECEIVE_LIMIT));
}
