//! The wire: what is registered, what is answered, and what strangers on the socket can do.

use crate::scene::*;
use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport::Server};
use vfiod_proto::deviceplugin::{
    self as api,
    registration_server::{Registration, RegistrationServer},
};
use vfiod_simulator::{
    kubelet::{Kubelet, KubeletVersion, Plugin, PodSpec},
    node::Node,
};
use vfiod_tests::{Agent, agent::PATIENCE};

/// The socket on which a resource is served.
fn socket_of(kubelet: &Kubelet, resource: &str) -> PathBuf {
    let file = resource.replace('/', "_");
    let name = sockets(kubelet).into_iter().find(|name| name.contains(&file)).unwrap();
    kubelet.plugin_dir().join(name)
}

async fn served(node: &Node, folder: &TempDir, config: &str) -> (Kubelet, Agent) {
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    let agent = Agent::builder(node.root(), folder.path(), config).start().unwrap();
    kubelet
        .wait_for("two QATs, and the others", PATIENCE, |state| {
            state.allocatable(QAT) == 2 && [GPU, AUDIO].iter().all(|name| state.listings(name).len() == 1)
        })
        .await
        .unwrap();
    (kubelet, agent)
}

/// A kubelet that only notes what is registered, and never calls back.
#[derive(Clone, Default)]
struct Notary(Arc<Mutex<Vec<api::RegisterRequest>>>);

#[tonic::async_trait]
impl Registration for Notary {
    async fn register(&self, request: Request<api::RegisterRequest>) -> Result<Response<api::Empty>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(api::Empty {}))
    }
}

#[tokio::test]
async fn the_registration_says_what_a_kubelet_needs_and_comes_after_the_socket() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let plugins = folder.path().join("device-plugins");
    fs::create_dir_all(&plugins).unwrap();
    let notary = Notary::default();
    let listener = UnixListenerStream::new(UnixListener::bind(plugins.join("kubelet.sock")).unwrap());
    tokio::spawn(Server::builder().add_service(RegistrationServer::new(notary.clone())).serve_with_incoming(listener));
    let agent = Agent::builder(node.root(), folder.path(), &pci_config(&[(QAT_ID, QAT)])).start().unwrap();
    let begun = Instant::now();
    let noted = loop {
        if let Some(noted) = notary.0.lock().unwrap().first().cloned() {
            break noted;
        }
        assert!(begun.elapsed() < PATIENCE, "{}", agent.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((noted.version.as_str(), noted.resource_name.as_str()), ("v1beta1", QAT));
    assert!(!noted.endpoint.contains('/') && plugins.join(&noted.endpoint).exists(), "{noted:?}");
    let options = noted.options.unwrap();
    assert!(options.pre_start_required && options.get_preferred_allocation_available);
    let plugin = Plugin::dial(plugins.join(&noted.endpoint), PATIENCE).await.unwrap();
    assert_eq!(plugin.options().await.unwrap(), options);
    // This kubelet never asks for the list: that is told, and tried again.
    let begun = Instant::now();
    while notary.0.lock().unwrap().len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "{}", agent.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    agent.wait_for_log("did not ask for the list").unwrap();
}

#[tokio::test]
async fn sixty_four_resources_are_served_side_by_side() {
    let entries: Vec<(String, String)> =
        (0..64).map(|number| (format!("1234:{number:04x}"), format!("example.com/resource-{number}"))).collect();
    let node = entries.iter().enumerate().fold(Node::builder(), |builder, (number, (id, _))| {
        builder.pci(vfiod_simulator::node::PciSpec::new(format!("0000:{:02x}:00.0", number + 1), id).driver("vfio-pci"))
    });
    let (node, folder) = (node.build().unwrap(), TempDir::new().unwrap());
    let names: Vec<(&str, &str)> = entries.iter().map(|(id, name)| (id.as_str(), name.as_str())).collect();
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), &pci_config(&names)).start().unwrap();
    let all = |state: &vfiod_simulator::kubelet::State| names.iter().all(|(_, name)| state.allocatable(name) == 1);
    kubelet.wait_for("all of them", PATIENCE, all).await.unwrap();
    kubelet.restart().await.unwrap();
    kubelet.wait_for("all of them again", PATIENCE, all).await.unwrap();
    assert_eq!(sockets(&kubelet).len(), 64);
    let spec = PodSpec::new("vms", "vm").container("compute", names.iter().map(|(_, name)| (*name, 1)));
    let pod = kubelet.admit(spec).await.unwrap();
    kubelet.start_container(pod.uid(), "compute").await.unwrap();
    assert_eq!(
        pod.container("compute").unwrap().options.envs.len(),
        2 * 64 - 64 + 64,
        "{:?}",
        pod.container("compute")
    );
}

#[tokio::test]
async fn each_container_of_a_request_has_an_answer_of_its_own() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let (kubelet, _agent) = served(&node, &folder, &usual_config()).await;
    let plugin = Plugin::dial(socket_of(&kubelet, QAT), PATIENCE).await.unwrap();
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let (first, second) = ("0000:3b:00.0", "0000:3c:00.0");
    let answers = plugin.allocate([ids(&[first]), ids(&[second]), ids(&[]), ids(&[second, first])]).await.unwrap();
    let variable = |at: usize| answers[at].envs.get("PCI_RESOURCE_INTEL_COM_QAT").map(String::as_str);
    assert_eq!(
        [variable(0), variable(1), variable(2), variable(3)],
        [Some(first), Some(second), None, Some("0000:3c:00.0,0000:3b:00.0")],
        "in the order asked for"
    );
    let paths = |at: usize| answers[at].devices.iter().map(|spec| spec.host_path.as_str()).collect::<Vec<_>>();
    assert_eq!(paths(0), ["/dev/vfio/vfio", "/dev/vfio/11"]);
    assert_eq!(paths(1), ["/dev/vfio/vfio", "/dev/vfio/12"]);
    assert!(paths(2).is_empty());
    assert_eq!(paths(3), ["/dev/vfio/vfio", "/dev/vfio/12", "/dev/vfio/11"], "each path once");
    // One bad container spoils the call, and nothing of it happened.
    plugin.allocate([ids(&[first]), ids(&["0000:99:00.0"])]).await.unwrap_err();
}

#[tokio::test]
async fn advice_includes_what_must_be_in_it_and_is_never_refused_without_need() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let (kubelet, _agent) = served(&node, &folder, &usual_config()).await;
    let plugin = Plugin::dial(socket_of(&kubelet, QAT), PATIENCE).await.unwrap();
    let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let (first, second) = ("0000:3b:00.0", "0000:3c:00.0");
    for (available, required, size, expected) in [
        (&[first, second][..], &[second][..], 1, &[second][..]),
        (&[first, second], &[second], 2, &[second, first]),
        (&[first, second], &[], 0, &[]),
        (&[second], &[first], 1, &[first]),
        (&["0000:99:00.0", "gone"], &[], 2, &["0000:99:00.0", "gone"]),
        (&["gone", first], &[], 1, &[first]),
    ] {
        let mut answer = plugin.preferred_allocation(owned(available), owned(required), size).await.unwrap();
        let mut expected = owned(expected);
        answer.sort();
        expected.sort();
        assert_eq!(answer, expected, "{available:?} {required:?} {size}");
    }
}

#[tokio::test]
async fn strangers_on_the_socket_disturb_nobody() {
    for version in [KubeletVersion::V1_32, KubeletVersion::Newer] {
        let (node, folder) = (two_qats(), TempDir::new().unwrap());
        let kubelet = Kubelet::builder(folder.path()).version(version).start().await.unwrap();
        let mut agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
        kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
        let socket = socket_of(&kubelet, QAT);
        let before = (kubelet.registrations(QAT), kubelet.watch(QAT).len());

        // Readers that come and go, and one that never reads.
        for _ in 0..20 {
            let plugin = Plugin::dial(&socket, PATIENCE).await.unwrap();
            let mut stream = plugin.list_and_watch().await.unwrap();
            assert_eq!(stream.message().await.unwrap().unwrap().devices.len(), 2);
        }
        let deaf = Plugin::dial(&socket, PATIENCE).await.unwrap();
        let _stream = deaf.list_and_watch().await.unwrap();

        // Garbage of every kind; the connections that are left open wait for nothing.
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let huge = [&preface[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], &[0; 4096]].concat();
        let settings = [&preface[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        let random: Vec<u8> = (0..65_536_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut open = Vec::new();
        for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\0", b"", &huge, &settings, &random, preface] {
            for leave_open in [true, false] {
                let mut stream = UnixStream::connect(&socket).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                // It may be closed before all of it is written.
                let _ = stream.write_all(garbage);
                if leave_open {
                    open.push(stream);
                } else {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
        }
        // More connections than anybody needs, all silent.
        let crowd: Vec<UnixStream> = (0..2000).map_while(|_| UnixStream::connect(&socket).ok()).collect();
        node.node_gone(11).unwrap();
        kubelet.wait_for("a change is told meanwhile", PATIENCE, |state| state.allocatable(QAT) == 1).await.unwrap();
        node.node_back(11).unwrap();
        kubelet.wait_for("and back", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
        let pod = kubelet.admit(PodSpec::new("vms", "vm").container("compute", [(QAT, 1)])).await.unwrap();
        kubelet.start_container(pod.uid(), "compute").await.unwrap();
        assert_eq!(kubelet.registrations(QAT), before.0, "the kubelet was not bothered");
        assert_eq!(kubelet.watch(QAT).len(), before.1 + 2);

        // The crowd is sent away, so that the next client is served.
        let mut last = crowd.into_iter().next_back().unwrap();
        last.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        let _ = last.read_to_end(&mut rest);
        kubelet.disconnect(QAT).await;
        kubelet.wait_for("registered again", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
        assert_eq!(agent.terminate().unwrap().code(), Some(0));
    }
}

#[tokio::test]
async fn a_request_of_any_size_and_content_is_answered() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let (kubelet, _agent) = served(&node, &folder, &usual_config()).await;
    let plugin = Plugin::dial(socket_of(&kubelet, QAT), PATIENCE).await.unwrap();
    let refused = plugin.allocate([vec!["x".repeat(1 << 20)]]).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    plugin.allocate([vec!["0000:3b:00.0".to_owned(); 300_000]]).await.unwrap_err();
    let many = plugin.allocate(vec![vec!["0000:3b:00.0".to_owned()]; 1000]).await.unwrap();
    assert_eq!(many.len(), 1000);
    assert!(plugin.allocate([]).await.unwrap().is_empty());
    plugin.preferred_allocation(Vec::new(), Vec::new(), -1).await.ok();
    plugin.preferred_allocation(Vec::new(), Vec::new(), i32::MAX).await.unwrap_err();
    plugin.pre_start(Vec::new()).await.unwrap();
    assert_eq!(plugin.allocate([vec!["0000:3b:00.0".to_owned()]]).await.unwrap().len(), 1);
}
