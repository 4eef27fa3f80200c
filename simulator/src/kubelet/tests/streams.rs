//! The end of a `ListAndWatch` stream.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::plugin::TestPlugin;
use super::{QAT, SOON, listed, setup};
use crate::kubelet::{Health, KubeletVersion};

const TWO: &[&str] = &["0000:01:00.0", "0000:02:00.0"];

#[tokio::test]
async fn the_end_of_a_stream_takes_allocatable_at_once_and_leaves_capacity() {
    let setup = setup(TWO, |k| k).await;
    setup.plugin.end_streams();
    setup.kubelet.wait_for("nothing allocatable", SOON, |state| state.allocatable(QAT) == 0).await.unwrap();
    assert_eq!(setup.kubelet.capacity(QAT), 2);
    assert!(setup.kubelet.devices(QAT).values().all(|device| device.health == Health::Unhealthy));
}

#[tokio::test]
async fn capacity_goes_when_the_grace_period_is_over() {
    let setup = setup(TWO, |k| k.stop_grace(Duration::from_millis(20))).await;
    setup.plugin.end_streams();
    setup.kubelet.wait_for("the resource is gone", SOON, |state| !state.has_resource(QAT)).await.unwrap();
    assert_eq!(setup.kubelet.capacity(QAT), 0);
}

#[tokio::test]
async fn a_message_over_4_mib_ends_the_stream() {
    let setup = setup(TWO, |k| k).await;
    let ids: Vec<String> = (0..70_000).map(|n| format!("{n:060}")).collect();
    setup.plugin.list(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    setup.kubelet.wait_for("the resource is lost", SOON, |state| !state.is_connected(QAT)).await.unwrap();
    assert_eq!(setup.kubelet.allocatable(QAT), 0);
}

#[tokio::test]
async fn a_message_just_under_4_mib_is_taken() {
    let setup = setup(TWO, |k| k).await;
    // Every device takes 2 + 60 bytes for its id, 2 + 7 for its health, 2 for itself.
    let count = 4 * 1024 * 1024 / 73;
    let ids: Vec<String> = (0..count).map(|n| format!("{n:060}")).collect();
    setup.plugin.list(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    listed(&setup.kubelet, count).await;
    let bytes = setup.kubelet.watch(QAT).pop().unwrap().bytes;
    assert!((4 * 1024 * 1024 - 73..=4 * 1024 * 1024).contains(&bytes), "{bytes}");
}

/// Registers a second plugin on its own socket, then ends the stream of the first.
async fn replace_plugin(version: KubeletVersion) -> (super::Setup, TestPlugin) {
    let setup = setup(TWO, |k| k.version(version)).await;
    let second = TestPlugin::serve(&setup.kubelet.plugin_dir().join("second.sock"));
    second.list(&["0000:03:00.0"]);
    second.register(&setup.kubelet, QAT).await.unwrap();
    listed(&setup.kubelet, 1).await;
    setup.plugin.end_streams();
    (setup, second)
}

#[tokio::test]
async fn up_to_1_32_the_end_of_an_old_stream_disconnects_the_live_client() {
    let (setup, second) = replace_plugin(KubeletVersion::V1_32).await;
    setup.kubelet.wait_for("the live client is cut", SOON, |state| !state.is_connected(QAT)).await.unwrap();
    assert_eq!(setup.kubelet.allocatable(QAT), 0);
    second.register(&setup.kubelet, QAT).await.unwrap();
    listed(&setup.kubelet, 1).await;
}

#[tokio::test]
async fn newer_kubelets_keep_the_live_client_when_an_old_stream_ends() {
    let (setup, second) = replace_plugin(KubeletVersion::Newer).await;
    setup
        .kubelet
        .wait_for("the old client is gone", SOON, |state| {
            state.endpoint_store.get(QAT).is_some_and(|store| store.len() == 1)
        })
        .await
        .unwrap();
    second.list(&["0000:03:00.0", "0000:04:00.0"]);
    listed(&setup.kubelet, 2).await;
}

#[tokio::test]
async fn newer_kubelets_refuse_a_socket_that_is_still_connected() {
    let setup = setup(TWO, |k| k.version(KubeletVersion::Newer)).await;
    let error = setup.plugin.register(&setup.kubelet, QAT).await.unwrap_err();
    assert!(error.message().contains("already connected"), "{error}");
    assert_eq!(setup.kubelet.allocatable(QAT), 2);
}

#[tokio::test]
async fn up_to_1_32_a_plugin_may_register_again_on_its_socket() {
    let setup = setup(TWO, |k| k.version(KubeletVersion::V1_32)).await;
    setup.plugin.register(&setup.kubelet, QAT).await.unwrap();
    listed(&setup.kubelet, 2).await;
    assert_eq!(setup.kubelet.registrations(QAT), 2);
}

#[tokio::test]
async fn a_connection_that_the_kubelet_closes_comes_back_with_a_registration() {
    let setup = setup(TWO, |k| k).await;
    setup.kubelet.disconnect(QAT).await;
    assert_eq!(setup.kubelet.allocatable(QAT), 0);
    setup.plugin.register(&setup.kubelet, QAT).await.unwrap();
    listed(&setup.kubelet, 2).await;
}

#[tokio::test]
async fn a_message_of_an_old_stream_still_replaces_the_list() {
    for version in [KubeletVersion::V1_32, KubeletVersion::Newer] {
        let setup = setup(TWO, |k| k.version(version)).await;
        let second = TestPlugin::serve(&setup.kubelet.plugin_dir().join("second.sock"));
        second.list(&["0000:03:00.0"]);
        second.register(&setup.kubelet, QAT).await.unwrap();
        listed(&setup.kubelet, 1).await;
        setup.plugin.list(&["0000:01:00.0", "0000:02:00.0", "0000:04:00.0"]);
        listed(&setup.kubelet, 3).await;
    }
}

#[tokio::test]
async fn after_a_failed_registration_the_end_of_the_live_stream_goes_unnoticed() {
    for version in [KubeletVersion::V1_32, KubeletVersion::Newer] {
        let setup = setup(TWO, |k| k.version(version)).await;
        let client = setup.kubelet.look(|state| state.clients.all()).pop().unwrap();
        setup.plugin.is.refuse_options.store(true, Ordering::Relaxed);
        setup.plugin.register(&setup.kubelet, QAT).await.unwrap_err();
        setup.plugin.end_streams();
        client.until_ended().await;
        assert_eq!(setup.kubelet.allocatable(QAT), 2);
    }
}
