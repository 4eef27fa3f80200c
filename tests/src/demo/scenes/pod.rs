//! A virtual machine's pod is given one device of each resource.

use crate::demo::{
    figures::{Sample, time},
    host::{QAT, T4, VGPU},
    stage::Stage,
};
use anyhow::{Context, Result, ensure};
use vfiod_simulator::kubelet::{AdmittedPod, PodSpec, Rpc, State};

pub(super) async fn play(stage: &mut Stage) -> Result<AdmittedPod> {
    stage.page.scene("A virtual machine's pod asks for one of each")?;
    stage.page.quote("resources:\n  limits:")?;
    for resource in [T4, QAT, VGPU] {
        stage.page.quote(&format!("    {resource}: 1"))?;
    }
    stage.page.blank()?;
    let spec = PodSpec::new("default", "virt-launcher-vm").container("compute", [(T4, 1), (QAT, 1), (VGPU, 1)]);
    let pod = stage.kubelet()?.admit(spec).await.context("the pod is not admitted")?;
    let start = stage.kubelet()?.start_container(pod.uid(), "compute").await;
    let options = start.context("the container does not start")?;
    let calls = |rpc| stage.kubelet().map(|kubelet| kubelet.look(|state| calls(state, rpc)));
    let (preferred, allocate, pre_start) =
        (calls(Rpc::GetPreferredAllocation)?, calls(Rpc::Allocate)?, calls(Rpc::PreStartContainer)?);
    stage.page.say(&format!(
        "For each resource the kubelet asked vfiod which of the free devices it would take ({} at most), allocated that \
         ({} at most), and asked whether the container may start ({} at most). The container gets this environment:",
        time(preferred.worst()),
        time(allocate.worst()),
        time(pre_start.worst())
    ))?;
    stage.page.blank()?;
    for (name, value) in &options.envs {
        stage.page.quote(&format!("{name}={value}"))?;
    }
    stage.page.blank()?;
    stage.page.say("and these device nodes (path on the host, in the container, permissions):")?;
    stage.page.blank()?;
    for device in &options.devices {
        stage.page.quote(&format!("{:<16} {:<16} {}", device.host_path, device.container_path, device.permissions))?;
    }
    stage.page.blank()?;
    stage.page.say(
        "KubeVirt's code looks for names in capitals, its documentation shows the resource's own letters: where they \
         differ, vfiod sets both. From there virt-launcher takes the addresses for the libvirt domain.",
    )?;
    ensure!(pod.device_ids().len() == 3, "three devices were asked for, {:?} came", pod.device_ids());
    let nodes = options.devices.len();
    ensure!(nodes == 4, "three groups and the container node make 4 device nodes, {nodes} came");
    stage.note_sample("Allocate", &allocate);
    stage.note_sample("PreStartContainer", &pre_start);
    Ok(pod)
}

/// How long the calls took that the pod needed.
fn calls(state: &State, rpc: Rpc) -> Sample {
    let calls = [T4, QAT, VGPU].into_iter().flat_map(|resource| state.calls(resource));
    let mut sample = Sample::default();
    calls.filter(|call| call.rpc == rpc).for_each(|call| sample.add(call.took));
    sample
}
