//! What clients on an endpoint's socket may do without harm to others.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::{fs, path::PathBuf, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};
use vfiod_simulator::{
    kubelet::{Kubelet, Plugin},
    node::{Node, PciSpec},
};
use vfiod_tests::{Agent, agent::PATIENCE};

const QAT: &str = "intel.com/qat";
const DEVICE: &str = "0000:01:00.0";
const CONFIG: &str =
    "permittedHostDevices:\n  pciHostDevices:\n  - {pciVendorSelector: '8086:6F54', resourceName: intel.com/qat}\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct Served {
    agent: Agent,
    kubelet: Kubelet,
    socket: PathBuf,
    _node: Node,
    _folder: TempDir,
}

async fn served() -> Served {
    let node = Node::builder().pci(PciSpec::new(DEVICE, "8086:6F54").driver("vfio-pci").group(1)).build().unwrap();
    let folder = TempDir::new().unwrap();
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let agent = Agent::builder(node.root(), folder.path(), CONFIG).start().unwrap();
    kubelet.wait_for("the device is allocatable", PATIENCE, |state| state.allocatable(QAT) == 1).await.unwrap();
    let mut sockets = fs::read_dir(kubelet.plugin_dir()).unwrap().map(|entry| entry.unwrap().path());
    let socket = sockets.find(|path| path.to_string_lossy().contains("/vfiod-")).unwrap();
    Served { agent, kubelet, socket, _node: node, _folder: folder }
}

impl Served {
    async fn assert_serves(&self) {
        let plugin = Plugin::dial(&self.socket, PATIENCE).await.unwrap();
        assert_eq!(plugin.allocate([vec![DEVICE.to_owned()]]).await.unwrap().len(), 1);
    }

    /// The processor time that the agent has used, in ticks of 10 ms (kernel: `fs/proc/array.c`, `do_task_stat`).
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.agent.pid())).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
        fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
    }
}

#[tokio::test]
async fn garbage_on_the_socket_costs_only_its_own_connection() {
    let served = served().await;
    let nonsense: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let headers = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &[0xff, 0xff, 0xff, 1, 0xff, 0, 0, 0, 1], &nonsense].concat();
    let silent = UnixStream::connect(&served.socket).await.unwrap();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &nonsense, &headers, PREFACE, b""] {
        let mut client = UnixStream::connect(&served.socket).await.unwrap();
        // The agent may close the connection before it has read all.
        let _ = client.write_all(garbage).await;
        let _ = client.shutdown().await;
        let ended = timeout(PATIENCE, client.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "the connection is closed after {} bytes of garbage", garbage.len());
    }
    served.assert_serves().await;
    assert_eq!(served.kubelet.registrations(QAT), 1, "the kubelet's own connection was not disturbed");
    drop(silent);
}

#[tokio::test]
async fn a_lack_of_file_descriptors_is_told_and_waited_out_at_rest() {
    let served = served().await;
    let pid = Pid::from_raw(served.agent.pid().try_into().unwrap());
    // Descriptors below are in use, so there is no other from now on.
    let few = Rlimit { current: Some(3), ..getrlimit(Resource::Nofile) };
    let enough = prlimit(pid, Resource::Nofile, few).unwrap();
    let before = served.ticks();
    let mut client = UnixStream::connect(&served.socket).await.unwrap();
    client.write_all(PREFACE).await.unwrap();
    served.agent.wait_for_log("cannot accept a connection").unwrap();
    // The kubelet's stream goes on meanwhile, and the agent does not turn in circles.
    assert!(timeout(Duration::from_secs(1), client.read_u8()).await.is_err(), "the connection waits");
    assert!(served.ticks() - before < 30, "{} ticks of processor time in a second", served.ticks() - before);
    prlimit(pid, Resource::Nofile, enough).unwrap();
    timeout(PATIENCE, client.read_u8()).await.expect("the waiting connection is served").unwrap();
    served.agent.wait_for_log("connections are accepted again").unwrap();
    served.assert_serves().await;
    assert_eq!(served.kubelet.registrations(QAT), 1);
}
