//! The kubelet's PodResources API: who has which device, by the names of pods.

use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;
use tonic::transport::Endpoint;
use vfiod_proto::podresources::{
    ListPodResourcesRequest, ListPodResourcesResponse, pod_resources_lister_client::PodResourcesListerClient,
};

/// A node with thousands of devices answers in megabytes; the usual limit of a gRPC client is four.
const RECEIVE_LIMIT: usize = 64 * 1024 * 1024;

/// The devices of one resource that one container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: String,
    /// The resource's name.
    pub resource: String,
    /// Device ids, as their plugin listed them.
    pub ids: Vec<String>,
}

/// Why the API says nothing.
#[derive(Debug, thiserror::Error)]
#[error("the kubelet's PodResources API at {} does not answer: {reason}", path.display())]
pub struct Error {
    path: PathBuf,
    reason: String,
}

/// Asks the kubelet behind `socket` once, over a connection of its own: the socket may belong to another kubelet the
/// next time. Has no deadline.
///
/// # Errors
/// When nobody listens, or the kubelet answers with an error.
pub async fn list(socket: &Path) -> Result<Vec<Entry>, Error> {
    let failed = |reason: String| Error { path: socket.to_owned(), reason };
    let path = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The address is never resolved; it only becomes the `:authority` of the request.
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connect)
        .await
        .map_err(|error| failed(innermost(&error)))?;
    let mut client = PodResourcesListerClient::new(channel).max_decoding_message_size(RECEIVE_LIMIT);
    let response = client
        .list(ListPodResourcesRequest {})
        .await
        .map_err(|status| failed(format!("{:?}: {}", status.code(), status.message())))?;
    Ok(entries(response.into_inner()))
}

fn entries(response: ListPodResourcesResponse) -> Vec<Entry> {
    let mut entries = Vec::new();
    for pod in response.pod_resources {
        for container in pod.containers {
            entries.extend(container.devices.into_iter().map(|devices| Entry {
                namespace: pod.namespace.clone(),
                pod: pod.name.clone(),
                container: container.name.clone(),
                resource: devices.resource_name,
                ids: devices.device_ids,
            }));
        }
    }
    entries
}

/// tonic's own text says "transport error" and no more.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{IoMode, Runtime};
    use vfiod_proto::podresources::{ContainerDevices, ContainerResources, PodResources};

    #[test]
    fn each_resource_of_each_container_is_one_entry() {
        let devices = |resource: &str, ids: &[&str]| ContainerDevices {
            resource_name: resource.into(),
            device_ids: ids.iter().map(|id| (*id).into()).collect(),
            topology: None,
        };
        let response = ListPodResourcesResponse {
            pod_resources: vec![
                PodResources { name: "idle".into(), namespace: "default".into(), containers: vec![] },
                PodResources {
                    name: "vm".into(),
                    namespace: "vms".into(),
                    containers: vec![ContainerResources {
                        name: "compute".into(),
                        devices: vec![devices("a/gpu", &["0000:3b:00.0", "0000:3c:00.0"]), devices("a/audio", &["x"])],
                        cpu_ids: vec![1],
                    }],
                },
            ],
        };
        let entries = entries(response);
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].namespace.as_str(), entries[0].pod.as_str()), ("vms", "vm"));
        assert_eq!(entries[0].ids, ["0000:3b:00.0", "0000:3c:00.0"]);
        assert_eq!((entries[1].container.as_str(), entries[1].resource.as_str()), ("compute", "a/audio"));
    }

    #[test]
    fn nobody_at_the_socket_is_an_error_that_names_it() {
        for mode in [IoMode::Auto, IoMode::Plain] {
            let (runtime, _) = Runtime::start(mode).unwrap();
            let message = runtime.block_on(list(Path::new("/nowhere/kubelet.sock"))).unwrap_err().to_string();
            assert!(message.contains("/nowhere/kubelet.sock") && message.contains("No such file"), "{message}");
        }
    }
}
