//! PodResources.

use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use vfiod_proto::podresources as api;
use vfiod_proto::podresources::pod_resources_lister_client::PodResourcesListerClient;

use super::plugin::device;
use super::{QAT, SOON, listed, setup};
use crate::kubelet::{Kubelet, KubeletVersion, PodSpec, Sources};

const TWO: &[&str] = &["0000:01:00.0", "0000:02:00.0"];

async fn client(kubelet: &Kubelet) -> PodResourcesListerClient<Channel> {
    let socket: PathBuf = kubelet.pod_resources_socket();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap();
    PodResourcesListerClient::new(channel)
}

async fn list(kubelet: &Kubelet) -> Vec<api::PodResources> {
    let answer = client(kubelet).await.list(api::ListPodResourcesRequest {}).await.unwrap();
    answer.into_inner().pod_resources
}

fn pod(name: &str) -> PodSpec {
    PodSpec::new("default", name).init_container("init", [(QAT, 1)]).container("compute", [(QAT, 2)])
}

#[tokio::test]
async fn a_pod_is_listed_with_one_entry_a_device_and_without_its_init_containers() {
    let setup = setup(&[], |k| k).await;
    setup
        .plugin
        .list_devices(vec![device("0000:01:00.0", "Healthy", Some(1)), device("0000:02:00.0", "Healthy", None)]);
    listed(&setup.kubelet, 2).await;
    setup.kubelet.admit(pod("vm")).await.unwrap();
    let pods = list(&setup.kubelet).await;
    assert_eq!((pods[0].namespace.as_str(), pods[0].name.as_str()), ("default", "vm"));
    assert_eq!(pods[0].containers.len(), 1);
    let devices = &pods[0].containers[0].devices;
    assert_eq!(devices[0].device_ids, ["0000:01:00.0"]);
    assert_eq!(devices[0].topology.as_ref().unwrap().nodes[0].id, 1);
    assert_eq!(devices[1].device_ids, ["0000:02:00.0"]);
    assert!(devices[1].topology.is_none());
}

#[tokio::test]
async fn nothing_is_listed_until_the_pod_sources_are_ready() {
    let setup = setup(TWO, |k| k).await;
    setup.kubelet.set_sources(Sources::WhenTold);
    let admitted = setup.kubelet.admit(pod("vm")).await.unwrap();
    setup.kubelet.restart().await.unwrap();
    assert_eq!(list(&setup.kubelet).await, []);
    assert_eq!(setup.kubelet.look(|state| state.allocated(QAT)).len(), 2);
    setup.kubelet.sources_ready().await;
    assert_eq!(list(&setup.kubelet).await[0].name, admitted.spec.name);
}

#[tokio::test]
async fn a_list_frees_the_devices_of_finished_pods() {
    let setup = setup(TWO, |k| k).await;
    let admitted = setup.kubelet.admit(pod("vm")).await.unwrap();
    setup.kubelet.finish_pod(admitted.uid());
    assert_eq!(list(&setup.kubelet).await, []);
    assert!(setup.kubelet.look(|state| state.allocated(QAT)).is_empty());
}

#[tokio::test]
async fn kubelet_1_32_still_lists_a_finished_pod_but_without_devices() {
    let setup = setup(TWO, |k| k.version(KubeletVersion::V1_32)).await;
    let admitted = setup.kubelet.admit(pod("vm")).await.unwrap();
    setup.kubelet.finish_pod(admitted.uid());
    let pods = list(&setup.kubelet).await;
    assert_eq!(pods[0].name, "vm");
    assert!(pods[0].containers[0].devices.is_empty());
}

#[tokio::test]
async fn get_finds_a_pod_by_name_where_it_is_enabled() {
    let setup = setup(TWO, |k| k).await;
    setup.kubelet.admit(pod("vm")).await.unwrap();
    let mut client = client(&setup.kubelet).await;
    let mut get = async |name: &str| {
        let request = api::GetPodResourcesRequest { pod_name: name.to_owned(), pod_namespace: "default".to_owned() };
        client.get(request).await.map(|answer| answer.into_inner().pod_resources.unwrap().containers.len())
    };
    assert_eq!(get("vm").await.unwrap(), 1);
    assert_eq!(get("other").await.unwrap_err().code(), Code::Unknown);
}

#[tokio::test]
async fn allocatable_resources_are_the_healthy_devices() {
    let setup = setup(TWO, |k| k).await;
    let answer = client(&setup.kubelet).await.get_allocatable_resources(api::AllocatableResourcesRequest {}).await;
    assert_eq!(answer.unwrap().into_inner().devices.len(), 2);
}

#[tokio::test]
async fn calls_beyond_the_rate_limit_are_refused() {
    let setup = setup(TWO, |k| k).await;
    let mut client = client(&setup.kubelet).await;
    let begun = std::time::Instant::now();
    let mut refused = None;
    while refused.is_none() && begun.elapsed() < SOON {
        refused = client.list(api::ListPodResourcesRequest {}).await.err();
    }
    assert_eq!(refused.unwrap().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn it_can_be_made_unreachable_and_counts_its_calls() {
    let setup = setup(TWO, |k| k).await;
    setup.kubelet.refuse_pod_resources(true);
    let answer = client(&setup.kubelet).await.list(api::ListPodResourcesRequest {}).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    setup.kubelet.refuse_pod_resources(false);
    assert_eq!(list(&setup.kubelet).await, []);
    assert_eq!(setup.kubelet.look(|state| state.pod_resources_calls().len()), 2);
}
