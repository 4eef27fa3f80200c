//! The sources of ownership, read from a kubelet's folder with a kubelet behind its sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests; a failure is the message"
)]

use std::{fs, os::unix::net::UnixListener, path::Path, time::Duration};
use tempfile::TempDir;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};
use vfiod::{
    io::{IoMode, Runtime},
    ownership::Sources,
};
use vfiod_core::ownership::{Allocation, Reading, Source};
use vfiod_proto::podresources::{
    AllocatableResourcesRequest, AllocatableResourcesResponse, ContainerDevices, ContainerResources,
    GetPodResourcesRequest, GetPodResourcesResponse, ListPodResourcesRequest, ListPodResourcesResponse, PodResources,
    pod_resources_lister_server::{PodResourcesLister, PodResourcesListerServer},
};

const UID: &str = "6f2c7f2b-1d5e-4c1f-9f43-1f2b5e7c9a01";
const MDEV: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

/// A kubelet that lists what it is told to list.
#[derive(Clone)]
struct Kubelet(Result<Vec<ContainerDevices>, Status>);

#[tonic::async_trait]
impl PodResourcesLister for Kubelet {
    async fn list(&self, _: Request<ListPodResourcesRequest>) -> Result<Response<ListPodResourcesResponse>, Status> {
        let container = ContainerResources { name: "compute".into(), devices: self.0.clone()?, cpu_ids: vec![] };
        let pod = PodResources { name: "launcher".into(), namespace: "vms".into(), containers: vec![container] };
        Ok(Response::new(ListPodResourcesResponse { pod_resources: vec![pod] }))
    }

    async fn get_allocatable_resources(
        &self,
        _: Request<AllocatableResourcesRequest>,
    ) -> Result<Response<AllocatableResourcesResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn get(&self, _: Request<GetPodResourcesRequest>) -> Result<Response<GetPodResourcesResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }
}

/// A host with a kubelet's folder, in both modes of the event loop.
fn on_a_host(scenario: impl AsyncFn(&Path, &mut Sources)) {
    for mode in [IoMode::Auto, IoMode::Plain] {
        let host = TempDir::new().unwrap();
        for folder in ["kubelet/device-plugins", "kubelet/pod-resources", "var/log/pods"] {
            fs::create_dir_all(host.path().join(folder)).unwrap();
        }
        let (runtime, chosen) = Runtime::start(mode).unwrap();
        let mut sources = Sources::new(chosen.kind, &host.path().join("kubelet"), host.path());
        runtime.block_on(scenario(host.path(), &mut sources));
    }
}

fn serve(host: &Path, kubelet: Kubelet) {
    let listener = tokio::net::UnixListener::bind(host.join("kubelet/pod-resources/kubelet.sock")).unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(PodResourcesListerServer::new(kubelet).max_encoding_message_size(usize::MAX));
    tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
}

fn write_checkpoint(host: &Path, content: &str) {
    fs::write(host.join("kubelet/device-plugins/kubelet_internal_checkpoint"), content).unwrap();
}

fn devices(resource: &str, ids: impl IntoIterator<Item = String>) -> ContainerDevices {
    ContainerDevices { resource_name: resource.into(), device_ids: ids.into_iter().collect(), topology: None }
}

fn reason<T: std::fmt::Debug>(source: &Source<T>) -> &str {
    match source {
        Source::Unavailable(reason) => reason,
        Source::Read(value) => panic!("read {value:?}"),
    }
}

fn owners(source: &Source<Vec<Allocation>>) -> Vec<String> {
    let Source::Read(allocations) = source else { panic!("{}", reason(source)) };
    let told = allocations.iter().map(|found| format!("{} of {}: {}", found.device, found.resource, found.owner));
    told.collect()
}

async fn read(sources: &mut Sources) -> Reading {
    let begun = Duration::from_secs(7);
    let reading = sources.read(begun).await;
    assert_eq!(reading.begun, begun);
    reading
}

#[test]
fn both_sources_name_the_owner_and_the_log_folder_joins_them() {
    on_a_host(async |host, sources| {
        let _listening = UnixListener::bind(host.join("kubelet/device-plugins/kubelet.sock")).unwrap();
        serve(host, Kubelet(Ok(vec![devices("a.com/gpu", ["0000:3b:00.0".into(), "nic-7".into(), MDEV.into()])])));
        fs::create_dir(host.join(format!("var/log/pods/vms_launcher_{UID}"))).unwrap();
        write_checkpoint(
            host,
            &format!(
                r#"{{"Data":{{"PodDeviceEntries":[
                {{"PodUID":"{UID}","ContainerName":"compute","ResourceName":"a.com/gpu","DeviceIDs":{{"0":["0000:3b:00.0"]}}}},
                {{"PodUID":"u2","ContainerName":"c","ResourceName":"a.com/gpu","DeviceIDs":{{"-1":["0000:3c:00.0","port-1"]}}}}
                ],"RegisteredDevices":{{}}}},"Checksum":1}}"#
            ),
        );
        let reading = read(sources).await;
        assert_eq!(
            owners(&reading.checkpoint),
            [
                "0000:3b:00.0 of a.com/gpu: pod vms/launcher, container compute",
                "0000:3c:00.0 of a.com/gpu: pod u2, container c",
            ]
        );
        assert_eq!(
            owners(&reading.pod_resources),
            [
                "0000:3b:00.0 of a.com/gpu: pod vms/launcher, container compute",
                &format!("{MDEV} of a.com/gpu: pod vms/launcher, container compute"),
            ]
        );
        let (Source::Read(recorded), Source::Read(listed)) = (&reading.checkpoint, &reading.pod_resources) else {
            panic!("unread")
        };
        assert_eq!(recorded[0].owner.pod.same_as(&listed[0].owner.pod), Some(true));
        assert!(reading.kubelet_up.unwrap() < Duration::from_secs(60));
    });
}

#[test]
fn a_kubelet_that_is_down_leaves_the_checkpoint() {
    on_a_host(async |host, sources| {
        write_checkpoint(
            host,
            r#"{"Data":{"PodDeviceEntries":[{"PodUID":"u","ContainerName":"c","ResourceName":"a.com/x",
               "DeviceIDs":["0000:3b:00.0"]}],"RegisteredDevices":null},"Checksum":1}"#,
        );
        let reading = read(sources).await;
        assert_eq!(owners(&reading.checkpoint), ["0000:3b:00.0 of a.com/x: pod u, container c"]);
        let why = reason(&reading.pod_resources);
        assert!(why.contains("pod-resources/kubelet.sock") && why.contains("No such file"), "{why}");
        assert_eq!(reading.kubelet_up, None);
    });
}

#[test]
fn a_kubelet_that_hangs_costs_a_second_and_its_other_source_still_counts() {
    on_a_host(async |host, sources| {
        // Connections are queued and never served.
        let _deaf = UnixListener::bind(host.join("kubelet/pod-resources/kubelet.sock")).unwrap();
        write_checkpoint(host, r#"{"Data":{"PodDeviceEntries":null,"RegisteredDevices":null},"Checksum":1}"#);
        let reading = read(sources).await;
        let why = reason(&reading.pod_resources);
        assert!(why.contains("pod-resources/kubelet.sock") && why.contains("has not answered"), "{why}");
        assert_eq!(owners(&reading.checkpoint), [""; 0]);
        let again = read(sources).await;
        assert!(reason(&again.pod_resources).contains("has not answered for"));
    });
}

#[test]
fn an_error_of_the_kubelet_and_a_broken_checkpoint_are_told_in_words() {
    on_a_host(async |host, sources| {
        serve(host, Kubelet(Err(Status::resource_exhausted("rejected by rate limit"))));
        write_checkpoint(host, "");
        let reading = read(sources).await;
        let why = reason(&reading.pod_resources);
        assert!(why.contains("ResourceExhausted") && why.contains("rate limit"), "{why}");
        let why = reason(&reading.checkpoint);
        assert!(why.contains("kubelet_internal_checkpoint") && why.contains("not understood"), "{why}");
    });
}

#[test]
fn an_answer_beyond_the_usual_four_mebibytes_is_read() {
    on_a_host(async |host, sources| {
        // Few long words rather than many short ones: the limit is in bytes, and this one thread serves and reads.
        let long = |number: u32| format!("a.com/{number}{}", "x".repeat(1 << 20));
        let many = (0..5).map(|number| devices(&long(number), [format!("0000:3b:00.{number}")]));
        serve(host, Kubelet(Ok(many.collect())));
        let Source::Read(listed) = read(sources).await.pod_resources else { panic!("unread") };
        assert_eq!(listed.len(), 5);
    });
}
