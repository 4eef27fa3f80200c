//! A virtual machine's pod is given one device of each resource.

use crate::demo::{
    figures::time,
    host::{QAT, T4, VGPU},
    stage::Stage,
};
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use vfiod_simulator::kubelet::{AdmittedPod, PodSpec, Rpc};

pub(super) async fn play(stage: &mut Stage) -> Result<AdmittedPod> {
    stage.page.scene("A virtual machine's pod asks for one of each")?;
    let spec = PodSpec::new("default", "virt-launcher-vm").container("compute", [(T4, 1), (QAT, 1), (VGPU, 1)]);
    let pod = stage.kubelet()?.admit(spec).await.context("the pod is not admitted")?;
    let options =
        stage.kubelet()?.start_container(pod.uid(), "compute").await.context("the container does not start")?;
    let slowest = |rpc: Rpc| {
        let longest = |state: &vfiod_simulator::kubelet::State| {
            let calls = [T4, QAT, VGPU].into_iter().flat_map(|resource| state.calls(resource));
            calls.filter(|call| call.rpc == rpc).map(|call| call.took).max().unwrap_or(Duration::ZERO)
        };
        stage.kubelet().map(|kubelet| kubelet.look(longest))
    };
    let (preferred, allocate, pre_start) =
        (slowest(Rpc::GetPreferredAllocation)?, slowest(Rpc::Allocate)?, slowest(Rpc::PreStartContainer)?);
    stage.page.say(&format!(
        "For each of the three resources the kubelet asked vfiod which free device it prefers (slowest answer {}), allocated \
         it (slowest {}), and asked whether the container may start (slowest {}). What the container gets:",
        time(preferred),
        time(allocate),
        time(pre_start)
    ))?;
    stage.page.blank()?;
    stage.page.say("environment")?;
    for (name, value) in &options.envs {
        stage.page.quote(&format!("{name}={value}"))?;
    }
    stage.page.blank()?;
    stage.page.say("device nodes (on the host, in the container, permissions)")?;
    for device in &options.devices {
        stage.page.quote(&format!("{:<16} {:<16} {}", device.host_path, device.container_path, device.permissions))?;
    }
    stage.page.blank()?;
    stage.page.say(
        "Where a name appears twice, the first is what KubeVirt's code looks up and the second what its documentation shows; \
         virt-launcher takes the addresses from there into the libvirt domain.",
    )?;
    ensure!(pod.device_ids().len() == 3, "three devices were asked for, {:?} came", pod.device_ids());
    let nodes = options.devices.len();
    ensure!(nodes == 4, "three groups and the container node make 4 device nodes, {nodes} came");
    stage.note("Allocate, slowest of 3 calls", time(allocate));
    stage.note("PreStartContainer, slowest of 3 calls", time(pre_start));
    Ok(pod)
}
