//! Admission, pre-start, and the freeing of devices.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tonic::Code;

use super::plugin::{PreStart, device};
use super::{QAT, SOON, listed, setup};
use crate::kubelet::{AdmissionError, ContainerError, Health, Phase, PodSpec, Rpc, State};

const THREE: &[&str] = &["0000:01:00.0", "0000:02:00.0", "0000:03:00.0"];

fn pod(name: &str, count: usize) -> PodSpec {
    PodSpec::new("default", name).container("compute", [(QAT, count)])
}

#[tokio::test]
async fn an_admitted_pod_has_the_preferred_devices_and_what_allocate_answered() {
    let setup = setup(THREE, |k| k).await;
    let admitted = setup.kubelet.admit(pod("vm", 2)).await.unwrap();
    assert_eq!(admitted.device_ids(), ["0000:02:00.0", "0000:03:00.0"]);
    let options = &admitted.container("compute").unwrap().options;
    assert_eq!(options.envs["PCI_RESOURCE_INTEL_COM_QAT"], "0000:02:00.0,0000:03:00.0");
    assert_eq!(options.devices[0].host_path, "/dev/vfio/vfio");
    assert_eq!(setup.kubelet.look(|state| state.phase(admitted.uid())), Some(Phase::Running));
}

#[tokio::test]
async fn a_plugin_without_preferred_allocation_is_not_asked() {
    let setup = setup(&[], |k| k).await;
    setup.plugin.is.options.lock().unwrap().get_preferred_allocation_available = false;
    setup.kubelet.disconnect(QAT).await;
    setup.plugin.list(THREE);
    setup.plugin.register(&setup.kubelet, QAT).await.unwrap();
    listed(&setup.kubelet, 3).await;
    setup.kubelet.admit(pod("vm", 1)).await.unwrap();
    assert!(setup.plugin.is.preferred.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_error_in_preferred_allocation_ends_the_pod() {
    let setup = setup(THREE, |k| k).await;
    setup.plugin.is.refuse_preferred.store(true, Ordering::Relaxed);
    let error = setup.kubelet.admit(pod("vm", 1)).await.unwrap_err();
    assert!(error.to_string().contains("no preference today"), "{error}");
}

#[tokio::test]
async fn an_error_in_allocate_ends_the_pod_and_frees_its_devices() {
    let setup = setup(THREE, |k| k).await;
    setup.plugin.is.refuse_allocate.store(true, Ordering::Relaxed);
    let refused = pod("vm", 3);
    let error = setup.kubelet.admit(refused.clone()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "pod rejected, UnexpectedAdmissionError: Allocate failed due to rpc error: code = FailedPrecondition \
         desc = driver unbound, which is unexpected"
    );
    assert!(matches!(setup.kubelet.look(|state| state.phase(&refused.uid)), Some(Phase::Rejected(_))));
    setup.plugin.is.refuse_allocate.store(false, Ordering::Relaxed);
    setup.kubelet.admit(pod("next", 3)).await.unwrap();
}

#[tokio::test]
async fn more_than_available_is_refused_without_a_call() {
    let setup = setup(THREE, |k| k).await;
    let error = setup.kubelet.admit(pod("vm", 4)).await.unwrap_err();
    assert!(error.to_string().contains("Requested: 4, Available: 3"), "{error}");
    assert!(setup.plugin.is.allocated.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_resource_that_the_node_lacks_is_never_scheduled() {
    let setup = setup(THREE, |k| k).await;
    let other = PodSpec::new("default", "vm").container("compute", [("nvidia.com/gpu", 1)]);
    let error = setup.kubelet.admit(other).await.unwrap_err();
    assert_eq!(error, AdmissionError::NotScheduled("nvidia.com/gpu".to_owned()));
}

#[tokio::test]
async fn devices_of_a_finished_pod_are_freed_inside_the_next_admission() {
    let setup = setup(THREE, |k| k).await;
    let first = setup.kubelet.admit(pod("vm", 3)).await.unwrap();
    assert!(setup.kubelet.finish_pod(first.uid()));
    assert_eq!(setup.kubelet.look(|state| state.allocated(QAT).len()), 3);
    let second = setup.kubelet.admit(pod("second", 3)).await.unwrap();
    assert_eq!(second.device_ids(), first.device_ids());
    assert_eq!(setup.plugin.is.allocated.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_init_containers_devices_are_sent_again_for_the_app_container() {
    let setup = setup(THREE, |k| k).await;
    let spec = PodSpec::new("default", "vm").init_container("init", [(QAT, 1)]).container("compute", [(QAT, 2)]);
    let admitted = setup.kubelet.admit(spec).await.unwrap();
    let calls = setup.plugin.is.allocated.lock().unwrap().clone();
    assert_eq!(calls, [vec!["0000:03:00.0".to_owned()], vec!["0000:02:00.0".to_owned(), "0000:03:00.0".to_owned()]]);
    assert_eq!(admitted.device_ids().len(), 2);
    let asked = setup.plugin.is.preferred.lock().unwrap()[1].clone();
    assert_eq!(asked.must_include_device_i_ds, ["0000:03:00.0"]);
    assert_eq!(asked.available_device_i_ds.len(), 3);
    assert_eq!(asked.allocation_size, 2);
}

#[tokio::test]
async fn a_sidecar_keeps_its_devices() {
    let setup = setup(THREE, |k| k).await;
    let spec = PodSpec::new("default", "vm").sidecar("helper", [(QAT, 1)]).container("compute", [(QAT, 2)]);
    let admitted = setup.kubelet.admit(spec).await.unwrap();
    assert_eq!(admitted.device_ids().len(), 3);
}

#[tokio::test]
async fn pods_that_come_at_once_never_share_a_device() {
    let setup = setup(THREE, |k| k).await;
    let (a, b, c) = tokio::join!(
        setup.kubelet.admit(pod("a", 1)),
        setup.kubelet.admit(pod("b", 1)),
        setup.kubelet.admit(pod("c", 1))
    );
    let ids: BTreeSet<_> = [a, b, c].into_iter().flat_map(|pod| pod.unwrap().device_ids()).collect();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn with_a_topology_hint_aligned_devices_come_first() {
    let setup = setup(&[], |k| k.numa_affinity([1])).await;
    setup.plugin.list_devices(vec![
        device("0000:01:00.0", "Healthy", Some(0)),
        device("0000:02:00.0", "Healthy", Some(1)),
        device("0000:03:00.0", "Healthy", None),
    ]);
    listed(&setup.kubelet, 3).await;
    let first = setup.kubelet.admit(pod("vm", 1)).await.unwrap();
    assert_eq!(first.device_ids(), ["0000:02:00.0"]);
}

#[tokio::test]
async fn pre_start_is_called_once_a_start_and_its_error_reaches_the_test() {
    let setup = setup(THREE, |k| k).await;
    let admitted = setup.kubelet.admit(pod("vm", 1)).await.unwrap();
    *setup.plugin.is.pre_start.lock().unwrap() = PreStart::Refuse;
    let error = setup.kubelet.start_container(admitted.uid(), "compute").await.unwrap_err();
    assert!(matches!(&error, ContainerError::PreStart { status, .. } if status.code() == Code::Unavailable), "{error}");
    *setup.plugin.is.pre_start.lock().unwrap() = PreStart::Succeed;
    let options = setup.kubelet.start_container(admitted.uid(), "compute").await.unwrap();
    assert_eq!(options.envs["PCI_RESOURCE_INTEL_COM_QAT"], "0000:03:00.0");
    assert_eq!(setup.plugin.is.started.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn pre_start_that_hangs_ends_at_the_deadline_and_holds_up_nobody() {
    let setup = setup(THREE, |k| k.pre_start_timeout(Duration::from_millis(200))).await;
    let admitted = setup.kubelet.admit(pod("vm", 1)).await.unwrap();
    *setup.plugin.is.pre_start.lock().unwrap() = PreStart::Hang;
    let (start, other) =
        tokio::join!(setup.kubelet.start_container(admitted.uid(), "compute"), setup.kubelet.admit(pod("other", 1)));
    assert!(
        matches!(start.unwrap_err(), ContainerError::PreStart { status, .. } if status.code() == Code::DeadlineExceeded)
    );
    other.unwrap();
}

#[tokio::test]
async fn an_allocated_device_that_is_no_longer_listed_is_shown_healthy() {
    let setup = setup(THREE, |k| k).await;
    let admitted = setup.kubelet.admit(pod("vm", 1)).await.unwrap();
    setup.plugin.list_devices(vec![device("0000:03:00.0", "Unhealthy", None)]);
    let status = |id: &str| setup.kubelet.look(|state| state.pod_status(admitted.uid())[id]);
    setup.kubelet.wait_for("one device", SOON, |state| state.capacity(QAT) == 1).await.unwrap();
    assert_eq!(status("0000:03:00.0"), Health::Unhealthy);
    setup.plugin.list(&["0000:01:00.0"]);
    listed(&setup.kubelet, 1).await;
    assert_eq!(status("0000:03:00.0"), Health::Healthy);
}

#[tokio::test]
async fn the_logs_folder_names_the_pod_until_it_is_deleted() {
    let host = tempfile::tempdir().unwrap();
    let setup = setup(THREE, |k| k.host_root(host.path())).await;
    let admitted = setup.kubelet.admit(pod("vm", 1)).await.unwrap();
    let folder = host.path().join("var/log/pods").join(format!("default_vm_{}", admitted.uid()));
    assert!(folder.join("compute").is_dir());
    setup.kubelet.finish_pod(admitted.uid());
    assert!(folder.is_dir());
    setup.kubelet.delete_pod(admitted.uid());
    assert!(!folder.exists());
}

#[tokio::test]
async fn an_allocate_that_hangs_holds_up_every_other_pod() {
    let setup = setup(THREE, |k| k).await;
    setup.plugin.is.hang_allocate.store(true, Ordering::Relaxed);
    let hanging = setup.kubelet.admit(pod("hanging", 1));
    let meanwhile = async {
        let asked = |_: &State| setup.plugin.is.allocated.lock().unwrap().len() == 1;
        setup.kubelet.wait_for("the first pod hangs in Allocate", SOON, asked).await.unwrap();
        setup.plugin.is.hang_allocate.store(false, Ordering::Relaxed);
        let mut waiting = std::pin::pin!(setup.kubelet.admit(pod("waiting", 1)));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
        setup.kubelet.disconnect(QAT).await;
        waiting.await
    };
    let (hanging, waiting) = tokio::join!(hanging, meanwhile);
    assert!(hanging.unwrap_err().to_string().contains("Cancelled"));
    assert!(waiting.unwrap_err().to_string().contains("no healthy devices"));
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_written_ends_the_pod() {
    let setup = setup(THREE, |k| k).await;
    let file = setup.kubelet.plugin_dir().join("kubelet_internal_checkpoint");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir_all(file.join("in the way")).unwrap();
    let error = setup.kubelet.admit(pod("vm", 1)).await.unwrap_err();
    assert!(error.to_string().contains("failed to write checkpoint"), "{error}");
}

#[tokio::test]
async fn a_pod_can_be_made_again_under_its_name_once_it_is_deleted() {
    let setup = setup(THREE, |k| k).await;
    let first = setup.kubelet.admit(pod("vm", 3)).await.unwrap();
    let error = setup.kubelet.admit(pod("vm", 1)).await.unwrap_err();
    assert_eq!(error, AdmissionError::AlreadyExists("default/vm".to_owned()));
    setup.kubelet.delete_pod(first.uid());
    let second = setup.kubelet.admit(pod("vm", 3)).await.unwrap();
    assert_ne!(first.uid(), second.uid());
}

#[tokio::test]
async fn an_owned_device_that_is_unhealthy_counts_twice_for_the_scheduler() {
    let setup = setup(THREE, |k| k).await;
    let admitted = setup.kubelet.admit(pod("vm", 1)).await.unwrap();
    assert_eq!(setup.kubelet.look(|state| state.schedulable(QAT)), 2);
    let ids =
        THREE.iter().map(|id| device(id, if admitted.device_ids() == [*id] { "Unhealthy" } else { "Healthy" }, None));
    setup.plugin.list_devices(ids.collect());
    listed(&setup.kubelet, 2).await;
    assert_eq!(setup.kubelet.look(|state| state.schedulable(QAT)), 1);
}

#[tokio::test]
async fn every_call_is_recorded_with_its_duration_and_its_outcome() {
    let setup = setup(THREE, |k| k).await;
    let admitted = setup.kubelet.admit(pod("vm", 1)).await.unwrap();
    setup.kubelet.start_container(admitted.uid(), "compute").await.unwrap();
    let calls: Vec<_> = setup.kubelet.look(|state| state.calls(QAT).map(|call| call.rpc).collect());
    assert_eq!(calls, [Rpc::GetPreferredAllocation, Rpc::Allocate, Rpc::PreStartContainer]);
    let slowest = setup.kubelet.look(|state| state.calls(QAT).map(|call| call.took).max());
    assert!(slowest.unwrap() < SOON);
}
