//! Register: what is accepted, and what the kubelet does before it answers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::plugin::{TestPlugin, register};
use super::{QAT, SOON, kubelet, listed, setup};
use crate::kubelet::{Answer, Authority, Plugin, call_with_authority};

/// RFC 9113, section 7.
const PROTOCOL_ERROR: u32 = 1;

#[tokio::test]
async fn a_registered_plugin_shows_its_devices_as_capacity() {
    let setup = setup(&["0000:01:00.0", "0000:02:00.0"], |k| k).await;
    assert_eq!(setup.kubelet.capacity(QAT), 2);
    assert_eq!(setup.kubelet.registrations(QAT), 1);
    assert_eq!(setup.kubelet.devices(QAT).len(), 2);
}

#[tokio::test]
async fn another_api_version_is_refused() {
    let (kubelet, _folder) = kubelet(|k| k).await;
    let error = register(&kubelet.plugin_dir(), "v1alpha", "qat.sock", QAT).await.unwrap_err();
    assert!(error.message().contains("v1alpha"), "{error}");
    assert_eq!(kubelet.registrations(QAT), 0);
}

#[tokio::test]
async fn a_name_that_is_no_extended_resource_is_refused() {
    let (kubelet, _folder) = kubelet(|k| k).await;
    let error = register(&kubelet.plugin_dir(), "v1beta1", "qat.sock", "kubernetes.io/qat").await.unwrap_err();
    assert!(error.message().contains("kubernetes.io/qat"), "{error}");
}

#[tokio::test]
async fn a_plugin_that_does_not_listen_is_refused_after_the_dial_timeout() {
    let (kubelet, _folder) = kubelet(|k| k.dial_timeout(Duration::from_millis(50))).await;
    let error = register(&kubelet.plugin_dir(), "v1beta1", "nobody.sock", QAT).await.unwrap_err();
    assert!(error.message().contains("failed to dial"), "{error}");
    let log = kubelet.look(|state| state.registration_log().to_vec());
    assert!(log[0].outcome.is_err());
}

#[tokio::test]
async fn a_plugin_that_listens_a_little_late_is_still_reached() {
    let (kubelet, _folder) = kubelet(|k| k).await;
    let folder = kubelet.plugin_dir();
    let registering = tokio::spawn({
        let folder = folder.clone();
        async move { register(&folder, "v1beta1", "late.sock", QAT).await }
    });
    tokio::task::yield_now().await;
    let plugin = TestPlugin::serve(&folder.join("late.sock"));
    plugin.list(&["0000:01:00.0"]);
    registering.await.unwrap().unwrap();
    listed(&kubelet, 1).await;
}

#[tokio::test]
async fn a_plugin_that_gives_no_options_is_refused() {
    let (kubelet, _folder) = kubelet(|k| k).await;
    let plugin = TestPlugin::serve(&kubelet.plugin_dir().join("qat.sock"));
    plugin.is.refuse_options.store(true, Ordering::Relaxed);
    let error = plugin.register(&kubelet, QAT).await.unwrap_err();
    assert!(error.message().contains("no options today"), "{error}");
}

#[tokio::test]
async fn a_change_of_health_reaches_allocatable_and_the_history() {
    let setup = setup(&["0000:01:00.0", "0000:02:00.0"], |k| k).await;
    setup.plugin.list_devices(vec![
        super::plugin::device("0000:01:00.0", "Healthy", None),
        super::plugin::device("0000:02:00.0", "Unhealthy", Some(1)),
    ]);
    setup.kubelet.wait_for("one device allocatable", SOON, |state| state.allocatable(QAT) == 1).await.unwrap();
    assert_eq!(setup.kubelet.capacity(QAT), 2);
    let last = setup.kubelet.watch(QAT).pop().unwrap();
    assert_eq!(last.changes.len(), 1);
    let changed = last.changes["0000:02:00.0"].as_ref().unwrap();
    assert_eq!(changed.numa, [1]);
}

#[tokio::test]
async fn a_plugin_built_on_h2_refuses_the_authority_of_older_kubelets() {
    let setup = setup(&[], |k| k).await;
    let socket = setup.kubelet.plugin_dir().join("qat.sock");
    let authority = socket.to_str().unwrap();
    assert_eq!(call_with_authority(&socket, "localhost", SOON).await.unwrap(), Answer::Headers);
    assert_eq!(call_with_authority(&socket, authority, SOON).await.unwrap(), Answer::Reset(PROTOCOL_ERROR));
    for authority in [Authority::Path { huffman: false }, Authority::Path { huffman: true }, Authority::EscapedPath] {
        let plugin = Plugin::dial_with(&socket, authority, SOON).await.unwrap();
        let refusal = plugin.options().await.unwrap_err();
        assert!(refusal.message().contains("h2 protocol error"), "{authority:?}: {refusal}");
    }
}

#[tokio::test]
async fn an_older_kubelet_cannot_register_such_a_plugin() {
    let (kubelet, _folder) = kubelet(|k| k.authority(Authority::Path { huffman: true })).await;
    let plugin = TestPlugin::serve(&kubelet.plugin_dir().join("qat.sock"));
    let refusal = plugin.register(&kubelet, QAT).await.unwrap_err();
    assert!(refusal.message().contains("h2 protocol error"), "{refusal}");
}

#[tokio::test]
async fn a_plugin_can_be_called_without_a_kubelet() {
    let setup = setup(&["0000:01:00.0"], |k| k).await;
    let plugin = Plugin::dial(setup.kubelet.plugin_dir().join("qat.sock"), SOON).await.unwrap();
    assert!(plugin.options().await.unwrap().pre_start_required);
    let message = plugin.list_and_watch().await.unwrap().message().await.unwrap().unwrap();
    assert_eq!(message.devices[0].id, "0000:01:00.0");
    let ids = vec!["0000:01:00.0".to_owned()];
    assert_eq!(plugin.allocate([ids.clone(), Vec::new()]).await.unwrap().len(), 2);
    assert_eq!(plugin.preferred_allocation(ids.clone(), Vec::new(), 1).await.unwrap(), ids);
    plugin.pre_start(ids).await.unwrap();
}
