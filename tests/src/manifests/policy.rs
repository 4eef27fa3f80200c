//! vfiod's own rules for what it asks of a cluster, and the list of what it asks for.

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Container, PodSpec},
};

/// The containers of a pod, those that run first included.
fn containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    pod.init_containers.iter().flatten().chain(&pod.containers)
}

fn pod(daemon_set: &DaemonSet) -> PodSpec {
    daemon_set.spec.as_ref().and_then(|spec| spec.template.spec.clone()).unwrap_or_default()
}

/// Everything beyond an ordinary pod that the DaemonSet gives to vfiod: capabilities, folders and namespaces of the host.
/// Each must be justified in `docs/THREAT-MODEL.md` under this name.
#[must_use]
pub fn given(daemon_set: &DaemonSet) -> Vec<String> {
    let pod = pod(daemon_set);
    let mut given = Vec::new();
    if pod.host_pid == Some(true) {
        given.push("hostPID".to_owned());
    }
    for volume in pod.volumes.iter().flatten() {
        given.extend(volume.host_path.as_ref().map(|host| host.path.clone()));
    }
    for container in containers(&pod) {
        let capabilities = container.security_context.as_ref().and_then(|context| context.capabilities.as_ref());
        let added = capabilities.and_then(|capabilities| capabilities.add.clone()).unwrap_or_default();
        given.extend(added.iter().map(|name| format!("CAP_{name}")));
    }
    given.sort();
    given.dedup();
    given
}

/// What confines one container beside its capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// The container.
    pub container: String,
    /// Its SELinux type; none where the runtime's own is left.
    pub selinux: Option<String>,
    /// Its AppArmor profile, by field or by annotation; none where the runtime's own is left.
    pub apparmor: Option<String>,
}

/// What the mandatory access controls of a node are asked for, container by container.
#[must_use]
pub fn confinement(daemon_set: &DaemonSet) -> Vec<Confinement> {
    let annotations = daemon_set.spec.as_ref().and_then(|spec| spec.template.metadata.clone()?.annotations);
    let annotations = annotations.unwrap_or_default();
    let pod = pod(daemon_set);
    let of_pod = pod.security_context.clone().unwrap_or_default();
    let confinement = |container: &Container| {
        let own = container.security_context.clone().unwrap_or_default();
        let selinux =
            own.se_linux_options.or_else(|| of_pod.se_linux_options.clone()).and_then(|options| options.type_);
        let field = own.app_armor_profile.or_else(|| of_pod.app_armor_profile.clone()).map(|profile| profile.type_);
        let annotation = format!("container.apparmor.security.beta.kubernetes.io/{}", container.name);
        let apparmor = field.or_else(|| annotations.get(&annotation).cloned());
        Confinement { container: container.name.clone(), selinux, apparmor }
    };
    containers(&pod).map(confinement).collect()
}

/// What the DaemonSet must not be; empty where it is as it should be.
#[must_use]
pub fn breaches(daemon_set: &DaemonSet) -> Vec<String> {
    let pod = pod(daemon_set);
    let mut breaches = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            breaches.push(what.to_owned());
        }
    };
    must(pod.host_network != Some(true), "the pod has the host's network");
    must(pod.host_ipc != Some(true), "the pod has the host's IPC");
    must(pod.service_account_name.is_some(), "the pod runs under the default service account");
    must(pod.automount_service_account_token.is_some(), "whether the pod gets a token is left to a default");
    must(pod.priority_class_name.as_deref() == Some("system-node-critical"), "the pod is not critical to its node");
    must(pod.termination_grace_period_seconds.is_some(), "how long the pod may take to end is left to a default");
    let context = pod.security_context.clone().unwrap_or_default();
    let of_pod = context.seccomp_profile.as_ref().map(|profile| profile.type_.clone());
    for container in containers(&pod) {
        let name = &container.name;
        let mut must = |holds: bool, what: &str| {
            if !holds {
                breaches.push(format!("container {name} {what}"));
            }
        };
        let own = container.security_context.clone().unwrap_or_default();
        must(own.privileged != Some(true), "is privileged");
        must(own.allow_privilege_escalation == Some(false), "may gain privileges");
        must(own.read_only_root_filesystem == Some(true), "may write to its root file system");
        let capabilities = own.capabilities.clone().unwrap_or_default();
        must(capabilities.drop == Some(vec!["ALL".to_owned()]), "keeps the runtime's default capabilities");
        let seccomp = own.seccomp_profile.as_ref().map(|profile| profile.type_.clone()).or_else(|| of_pod.clone());
        must(
            seccomp.is_some_and(|kind| ["RuntimeDefault", "Localhost"].contains(&kind.as_str())),
            "runs without a seccomp profile",
        );
        must(
            container.ports.iter().flatten().all(|port| port.host_port.is_none_or(|port| port == 0)),
            "takes a port of the host",
        );
        let limits = container.resources.clone().unwrap_or_default().limits.unwrap_or_default();
        must(limits.contains_key("memory"), "may take all of the host's memory");
        must(container.image.as_ref().is_some_and(|image| !image.ends_with(":latest")), "has no image of its own");
    }
    let update = daemon_set.spec.as_ref().and_then(|spec| spec.update_strategy.clone()).unwrap_or_default();
    let rolling = update.rolling_update.unwrap_or_default();
    let is = |value: Option<k8s_openapi::apimachinery::pkg::util::intstr::IntOrString>, wanted: i32| {
        value == Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(wanted))
    };
    if !(is(rolling.max_surge, 1) && is(rolling.max_unavailable, 0)) {
        breaches.push("a rollout stops the old instance before the new one serves".to_owned());
    }
    breaches
}
