//! Starts, stops and restarts.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{QAT, listed, setup};
use crate::kubelet::{AdmissionError, Kubelet, Phase, PodSpec, Sources};

const TWO: &[&str] = &["0000:01:00.0", "0000:02:00.0"];

fn pod() -> PodSpec {
    PodSpec::new("default", "vm").container("compute", [(QAT, 1)])
}

#[tokio::test]
async fn twenty_restarts_take_the_plugins_socket_and_the_plugin_can_come_back() {
    let setup = setup(TWO, |k| k).await;
    let admitted = setup.kubelet.admit(pod()).await.unwrap();
    let socket = setup.kubelet.plugin_dir().join("qat.sock");
    for restart in 1..=20 {
        setup.kubelet.restart().await.unwrap();
        assert!(!socket.exists(), "restart {restart} left the plugin's socket");
        let _plugin = setup.plugin_again().await;
        assert_eq!(setup.kubelet.look(|state| state.allocated(QAT).len()), 1);
        assert_eq!(setup.kubelet.look(|state| state.phase(admitted.uid())), Some(Phase::Running));
    }
    assert_eq!(setup.kubelet.registrations(QAT), 21);
    assert_eq!(setup.kubelet.look(|state| state.starts()), 21);
}

#[tokio::test]
async fn a_restart_leaves_other_files_alone() {
    let setup = setup(TWO, |k| k).await;
    let other = setup.kubelet.plugin_dir().join("DEPRECATION");
    std::fs::write(&other, "").unwrap();
    setup.kubelet.restart().await.unwrap();
    assert!(other.exists());
}

#[tokio::test]
async fn a_killed_kubelet_leaves_a_socket_that_refuses() {
    let setup = setup(TWO, |k| k).await;
    setup.kubelet.kill();
    let socket = setup.kubelet.plugin_dir().join("kubelet.sock");
    assert!(socket.exists());
    assert!(UnixStream::connect(&socket).is_err());
    assert_eq!(setup.kubelet.admit(pod()).await.unwrap_err(), AdmissionError::NotRunning);
    assert!(!setup.kubelet.is_running());
}

#[tokio::test]
async fn a_stopped_kubelet_removes_its_socket_and_leaves_the_plugins() {
    let setup = setup(TWO, |k| k).await;
    setup.kubelet.stop().await;
    assert!(!setup.kubelet.plugin_dir().join("kubelet.sock").exists());
    assert!(setup.kubelet.plugin_dir().join("qat.sock").exists());
    setup.kubelet.start_again().await.unwrap();
    assert!(setup.kubelet.is_running());
}

#[tokio::test]
async fn a_wiped_folder_keeps_the_stream_and_the_checkpoint() {
    let setup = setup(TWO, |k| k).await;
    setup.kubelet.wipe_plugin_dir(false).unwrap();
    let left: Vec<_> = std::fs::read_dir(setup.kubelet.plugin_dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["kubelet_internal_checkpoint"]);
    setup.plugin.list(&["0000:01:00.0"]);
    listed(&setup.kubelet, 1).await;
}

#[tokio::test]
async fn admission_waits_until_the_pod_sources_are_ready() {
    let setup = setup(TWO, |k| k.sources(Sources::WhenTold)).await;
    let admission = setup.kubelet.admit(pod());
    tokio::pin!(admission);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut admission).await.is_err());
    setup.kubelet.sources_ready().await;
    admission.await.unwrap();
}

#[tokio::test]
async fn after_a_reboot_a_pod_is_refused_when_its_plugin_is_not_back_yet() {
    let setup = setup(TWO, |k| k).await;
    let admitted = setup.kubelet.admit(pod()).await.unwrap();
    setup.kubelet.reboot().await.unwrap();
    let phase = setup.kubelet.look(|state| state.phase(admitted.uid()));
    assert!(matches!(&phase, Some(Phase::Rejected(why)) if why.contains("no healthy devices")), "{phase:?}");
}

#[tokio::test]
async fn a_condition_that_does_not_come_true_says_what_the_kubelet_knew() {
    let setup = setup(TWO, |k| k).await;
    let error = setup.kubelet.wait_for("five devices", Duration::from_millis(20), |s| s.capacity(QAT) == 5).await;
    let text = format!("{:?}", error.unwrap_err());
    assert!(text.contains("still not: five devices"), "{text}");
    assert!(text.contains("intel.com/qat: connected, capacity 2, allocatable 2"), "{text}");
}

#[tokio::test]
async fn a_kubelet_that_cannot_make_its_folder_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Kubelet::builder(&file).start().await.unwrap_err().to_string();
    assert!(error.contains("device-plugins"), "{error}");
}

#[tokio::test]
async fn the_pod_sources_can_come_some_time_after_a_restart() {
    let setup = setup(TWO, |k| k).await;
    let admitted = setup.kubelet.admit(pod()).await.unwrap();
    setup.kubelet.set_sources(Sources::After(Duration::from_millis(100)));
    setup.kubelet.restart().await.unwrap();
    setup.kubelet.finish_pod(admitted.uid());
    assert_eq!(setup.kubelet.look(|state| state.allocated(QAT).len()), 1);
    let _plugin = setup.plugin_again().await;
    let next = PodSpec::new("default", "next").container("compute", [(QAT, 2)]);
    setup.kubelet.admit(next).await.unwrap();
}
