//! Where the cluster lives: folders and a network that only these namespaces have, and what its programs are told.

use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The node's name.
pub(super) const NODE: &str = "lab";
/// The address of the API server as pods know it: the first of the services.
pub(super) const API: &str = "10.96.0.1";
/// The node's own address.
const ADDRESS: &str = "10.1.0.1";
/// Who may ask the API server for what.
const USERS: [(&str, &str, &str); 4] = [
    ("admin", "admin", "system:masters"),
    ("kubelet", "system:node:lab", "system:nodes"),
    ("controllers", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
];
/// Where the pieces of the node's host that pods mount are; the machine's own are hidden behind these.
const FOLDERS: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// The folder with everything.
#[derive(Debug)]
pub(super) struct Setting {
    scratch: PathBuf,
}

impl Setting {
    /// Lays everything out.
    ///
    /// # Errors
    /// Outside of namespaces of its own, and when something cannot be made.
    pub(super) fn make(scratch: &Path) -> Result<Self> {
        // These namespaces' first process is the shell that `cargo xtask cluster` starts us by.
        if rustix::process::getppid().is_none_or(|parent| parent.as_raw_nonzero().get() != 1) {
            bail!(
                "this hides /run, /var/lib and /var/log: it is started by `cargo xtask cluster`, in namespaces of its own"
            );
        }
        let setting = Self { scratch: scratch.to_path_buf() };
        for folder in ["logs", "certificates", "cni"] {
            fs::create_dir_all(setting.at(folder))?;
        }
        shell(&mounts()).context("cannot hide the machine's folders")?;
        shell(NETWORK).context("cannot make the network")?;
        shell(CGROUPS).context("cannot make the control group of the pods")?;
        for (name, text) in setting.files() {
            fs::write(setting.at(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        for (user, _, _) in USERS {
            fs::write(setting.kubeconfig(user), setting.access(user))?;
        }
        Ok(setting)
    }

    /// A place in the folder.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// How a user reaches the API server.
    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.at(&format!("{user}.kubeconfig"))
    }

    /// How the administrator does.
    pub(super) fn admin(&self) -> PathBuf {
        self.kubeconfig("admin")
    }

    fn access(&self, user: &str) -> String {
        // The server makes its own certificate when it starts first; the file holds the authority, too.
        let authority = self.at("certificates/apiserver.crt");
        let authority = authority.display();
        format!(
            "apiVersion: v1\nkind: Config\n\
             clusters: [{{name: lab, cluster: {{server: \"https://{API}\", certificate-authority: {authority:?}}}}}]\n\
             users: [{{name: lab, user: {{token: {user}-token}}}}]\n\
             contexts: [{{name: lab, context: {{cluster: lab, user: lab}}}}]\ncurrent-context: lab\n",
            authority = authority.to_string()
        )
    }

    fn files(&self) -> [(&'static str, String); 4] {
        let tokens = USERS.map(|(user, name, group)| format!("{user}-token,{name},{user},{group:?}\n")).concat();
        let containerd = CONTAINERD
            .replace("ROOT", &self.at("containerd").display().to_string())
            .replace("CNI", &self.at("cni").display().to_string());
        [
            ("tokens.csv", tokens),
            ("containerd.toml", containerd),
            ("cni/10-pods.conflist", PODS.to_owned()),
            ("kubelet.yaml", KUBELET.to_owned()),
        ]
    }

    /// How the API server is started.
    pub(super) fn api_server(&self) -> Vec<String> {
        let certificates = self.at("certificates");
        let key = certificates.join("apiserver.key");
        [
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            "--secure-port=443".to_owned(),
            format!("--advertise-address={ADDRESS}"),
            "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
            format!("--cert-dir={}", certificates.display()),
            format!("--token-auth-file={}", self.at("tokens.csv").display()),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-signing-key-file={}", key.display()),
            format!("--service-account-key-file={}", key.display()),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ]
        .into()
    }

    /// How the controllers are started.
    pub(super) fn controllers(&self) -> Vec<String> {
        let certificates = self.at("certificates");
        let mut words = self.client("controllers");
        words.push("--use-service-account-credentials".to_owned());
        words.push(format!("--service-account-private-key-file={}", certificates.join("apiserver.key").display()));
        words.push(format!("--root-ca-file={}", certificates.join("apiserver.crt").display()));
        words
    }

    /// How the scheduler is started.
    pub(super) fn scheduler(&self) -> Vec<String> {
        self.client("scheduler")
    }

    fn client(&self, user: &str) -> Vec<String> {
        let access = self.kubeconfig(user);
        let access = access.display();
        vec![
            format!("--kubeconfig={access}"),
            format!("--authentication-kubeconfig={access}"),
            format!("--authorization-kubeconfig={access}"),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
        ]
    }

    /// How the kubelet is started.
    pub(super) fn kubelet(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.kubeconfig("kubelet").display()),
            format!("--config={}", self.at("kubelet.yaml").display()),
            "--container-runtime=remote".to_owned(),
            "--container-runtime-endpoint=unix:///run/containerd/containerd.sock".to_owned(),
            format!("--hostname-override={NODE}"),
            format!("--node-ip={ADDRESS}"),
            "--v=2".to_owned(),
        ]
    }
}

/// Every folder is empty and in memory; mounts made by the kubelet reach its containers.
fn mounts() -> String {
    let hidden = FOLDERS.map(|folder| format!("mount -t tmpfs tmpfs {folder}\n")).concat();
    format!("mount --make-rprivate /\n{hidden}mount --make-rshared /\nmkdir -p /var/lib/kubelet /var/log/pods\n")
}

/// The node's address is on a link that leads nowhere: the kernel here may lack the type `dummy`.
const NETWORK: &str = "\
ip link set lo up
ip address add 10.96.0.1/32 dev lo
ip link add node0 type veth peer name node1
ip link set node0 up
ip link set node1 up
ip address add 10.1.0.1/24 dev node0
ip route add default via 10.1.0.254
sysctl -qw net.ipv4.ip_forward=1
hostname lab
";

/// The control group of all pods, in each hierarchy. `cargo xtask cluster` removes it.
const CGROUPS: &str = "\
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then folders=/sys/fs/cgroup; else folders=/sys/fs/cgroup/*/; fi
for folder in $folders; do mkdir -p $folder/vfiod-cluster; done
";

const CONTAINERD: &str = r#"version = 2
root = "ROOT"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/busybox:1"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "CNI"
"#;

const PODS: &str = r#"{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "pods0",
"isGateway": true, "ipMasq": false, "ipam": {"type": "host-local", "subnet": "10.88.0.0/24",
"routes": [{"dst": "0.0.0.0/0"}]}}]}
"#;

/// `nodeStatusUpdateFrequency`: how often the kubelet tells the API server what it has. Its own default is 10 s, far more
/// than what is measured here. `syncFrequency`: how long a pod that is deleted may wait to be looked at again; its own
/// default is a minute.
const KUBELET: &str = r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /vfiod-cluster
failSwapOn: false
makeIPTablesUtilChains: false
nodeStatusUpdateFrequency: 200ms
syncFrequency: 3s
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
resolvConf: ""
clusterDNS: ["10.96.0.10"]
clusterDomain: cluster.local
"#;

/// Runs a script, which ends at its first failure.
fn shell(script: &str) -> Result<()> {
    let output = Command::new("sh").args(["-ec", script]).stdin(Stdio::null()).output().context("cannot run sh")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
