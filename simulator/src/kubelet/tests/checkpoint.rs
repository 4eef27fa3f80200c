//! The checkpoint file.

use prost::Message;
use vfiod_proto::deviceplugin as api;

use super::plugin::device;
use super::{QAT, SOON, listed, setup};
use crate::kubelet::PodSpec;

const TWO: &[&str] = &["0000:01:00.0", "0000:02:00.0"];

#[tokio::test]
async fn each_message_writes_the_healthy_devices() {
    let setup = setup(TWO, |k| k).await;
    setup.plugin.list_devices(vec![device("0000:01:00.0", "Healthy", None), device("0000:02:00.0", "Unhealthy", None)]);
    listed(&setup.kubelet, 1).await;
    written(&setup, |text| !text.contains("0000:02:00.0")).await;
    let checkpoint = setup.kubelet.checkpoint().unwrap().unwrap();
    assert_eq!(checkpoint.registered_devices[QAT], ["0000:01:00.0"]);
}

#[tokio::test]
async fn the_file_is_the_kubelets_json() {
    let setup = setup(&[], |k| k).await;
    let text = written(&setup, |text| text.contains(QAT)).await;
    assert!(
        text.starts_with(r#"{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{"intel.com/qat":[]}},"Checksum":"#)
    );

    setup
        .plugin
        .list_devices(vec![device("0000:01:00.0", "Healthy", Some(1)), device("0000:02:00.0", "Healthy", None)]);
    listed(&setup.kubelet, 2).await;
    let pod = PodSpec::new("default", "vm").uid("8b1e").container("compute", [(QAT, 2)]);
    setup.kubelet.admit(pod).await.unwrap();
    let text = written(&setup, |text| text.contains("8b1e")).await;
    let entry = concat!(
        r#""PodDeviceEntries":[{"PodUID":"8b1e","ContainerName":"compute","ResourceName":"intel.com/qat","#,
        r#""DeviceIDs":{"-1":["0000:02:00.0"],"1":["0000:01:00.0"]},"AllocResp":""#
    );
    assert!(text.contains(entry), "{text}");

    let checkpoint = setup.kubelet.checkpoint().unwrap().unwrap();
    let answer = api::ContainerAllocateResponse::decode(&*checkpoint.pod_device_entries[0].alloc_resp).unwrap();
    assert_eq!(answer.envs["PCI_RESOURCE_INTEL_COM_QAT"], "0000:01:00.0,0000:02:00.0");
}

#[tokio::test]
async fn the_pods_of_the_checkpoint_keep_their_devices_over_a_restart() {
    let setup = setup(TWO, |k| k).await;
    let pod = PodSpec::new("default", "vm").container("compute", [(QAT, 1)]);
    let admitted = setup.kubelet.admit(pod.clone()).await.unwrap();
    setup.kubelet.restart().await.unwrap();
    assert_eq!(setup.kubelet.look(|state| state.allocated(QAT)), admitted.device_ids().into_iter().collect());
    assert!(setup.kubelet.look(|state| state.has_resource(QAT)));
    assert_eq!(setup.kubelet.capacity(QAT), 0);
}

#[tokio::test]
async fn a_corrupted_checkpoint_is_ignored() {
    let setup = setup(TWO, |k| k).await;
    let file = setup.kubelet.plugin_dir().join("kubelet_internal_checkpoint");
    setup.kubelet.kill();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("0000:01:00.0", "0000:09:00.0")).unwrap();
    assert!(setup.kubelet.checkpoint().is_err());
    setup.kubelet.start_again().await.unwrap();
    assert!(!setup.kubelet.look(|state| state.has_resource(QAT)));
}

/// The text of the file, once it is as wanted.
async fn written(setup: &super::Setup, wanted: impl Fn(&str) -> bool) -> String {
    let file = setup.kubelet.plugin_dir().join("kubelet_internal_checkpoint");
    let text = || std::fs::read_to_string(&file).unwrap_or_default();
    setup.kubelet.wait_for("the checkpoint is written", SOON, |_| wanted(&text())).await.unwrap();
    text()
}
