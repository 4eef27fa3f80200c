//! The KubeVirt CR as the source of what is permitted, and everything that an API server can do to it.

use crate::scene::*;
use rustix::process::Signal;
use serde_json::json;
use std::{fs, path::Path};
use tempfile::TempDir;
use vfiod_simulator::{
    api_server::{ApiServer, Gone, Refusal},
    kubelet::{Health, Kubelet, KubeletVersion, PodSpec},
    node::Node,
};
use vfiod_tests::{
    Agent,
    agent::{AgentBuilder, PATIENCE},
    web,
};

const KV: (&str, &str) = ("kubevirt", "kubevirt");

/// Two QATs, a GPU and its audio function, a kubelet, an API server, and a folder for what agents remember.
pub struct Cluster {
    pub node: Node,
    pub kubelet: Kubelet,
    pub server: ApiServer,
    pub folder: TempDir,
}

impl Cluster {
    async fn start() -> Self {
        Self::with(KubeletVersion::Newer).await
    }

    pub async fn with(version: KubeletVersion) -> Self {
        let builder = Node::builder().pci(qat("0000:3b:00.0", 11)).pci(qat("0000:3c:00.0", 12));
        let node = gpu_with_audio(builder, "0000:3d:00", 13).build().unwrap();
        let folder = TempDir::new().unwrap();
        let kubelet = Kubelet::builder(folder.path().join("kubelet")).host_root(node.root()).version(version);
        let kubelet = kubelet.start().await.unwrap();
        age(&kubelet);
        Self { node, kubelet, server: ApiServer::start().unwrap(), folder }
    }

    pub fn permit(&self, entries: &[(&str, &str)]) {
        self.server.permit(KV.0, KV.1, entries);
    }

    pub fn cache(&self) -> std::path::PathBuf {
        self.folder.path().join("cache")
    }

    pub fn builder(&self) -> AgentBuilder {
        let kubeconfig = self.server.kubeconfig(self.folder.path()).unwrap();
        Agent::builder(self.node.root(), &self.folder.path().join("kubelet"), "")
            .without_config()
            .cache_dir(&self.cache())
            .variable("KUBECONFIG", kubeconfig.to_str().unwrap())
            .variable("HOME", "/nowhere")
            .flag("--kubevirt", "only")
    }

    fn agent(&self) -> Agent {
        self.builder().start().unwrap()
    }

    pub async fn serves(&self, resource: &str, devices: usize) {
        self.kubelet
            .wait_for(&format!("{devices} of {resource}"), PATIENCE, |state| state.allocatable(resource) == devices)
            .await
            .unwrap();
    }

    fn asked(&self, what: &str) -> usize {
        self.server.requests().iter().filter(|request| request.contains(what)).count()
    }

    /// Waits until a watch runs that began after `before` others.
    fn watched_again(&self, before: usize) {
        self.server.wait_for("another watch", PATIENCE, |_| self.asked("watch=") > before).unwrap();
    }
}

#[tokio::test]
async fn an_edit_is_followed_and_disturbs_nobody() {
    let cluster = Cluster::start().await;
    cluster.permit(&[(QAT_ID, QAT)]);
    let _agent = cluster.agent();
    cluster.serves(QAT, 2).await;
    let spec = PodSpec::new("vms", "vm").container("compute", [(QAT, 1)]);
    let pod = cluster.kubelet.admit(spec).await.unwrap();
    cluster.kubelet.start_container(pod.uid(), "compute").await.unwrap();
    let messages = cluster.kubelet.look(|state| state.listings(QAT).len());

    cluster.permit(&[(QAT_ID, QAT), (GPU_ID, GPU)]);
    cluster.serves(GPU, 1).await;
    cluster.permit(&[(QAT_ID, QAT), (AUDIO_ID, AUDIO)]);
    cluster.serves(AUDIO, 1).await;
    cluster.serves(GPU, 0).await;
    cluster.kubelet.look(|state| {
        assert_eq!(state.registrations(QAT), 1);
        assert_eq!(state.listings(QAT).len(), messages, "the other resource was told nothing");
    });
}

#[tokio::test]
async fn entries_that_are_not_marked_are_left_to_kubevirt() {
    let cluster = Cluster::start().await;
    let entries = json!([
        { "pciVendorSelector": QAT_ID, "resourceName": QAT, "externalResourceProvider": true },
        { "pciVendorSelector": GPU_ID, "resourceName": GPU },
    ]);
    let spec = json!({ "configuration": { "permittedHostDevices": { "pciHostDevices": entries } } });
    cluster.server.apply(KV.0, KV.1, spec);
    let agent = cluster.agent();
    cluster.serves(QAT, 2).await;
    cluster.kubelet.look(|state| assert!(!state.has_resource(GPU)));
    drop(agent);
    let _agent = cluster.builder().flag("--serve", "all").start().unwrap();
    cluster.serves(GPU, 1).await;
}

#[tokio::test]
async fn an_api_server_that_comes_late_is_waited_for() {
    let mut cluster = Cluster::start().await;
    cluster.server.go_away();
    cluster.permit(&[(QAT_ID, QAT)]);
    let agent = cluster.agent();
    agent.wait_for_log("the API server cannot be reached").unwrap();
    assert!(sockets(&cluster.kubelet).is_empty(), "nothing is known to be permitted");
    cluster.server.come_back().unwrap();
    cluster.serves(QAT, 2).await;
    agent.wait_for_log("the API server answers again").unwrap();
}

#[tokio::test]
async fn a_node_that_boots_without_the_api_server_serves_what_it_remembers() {
    let mut cluster = Cluster::start().await;
    cluster.permit(&[(QAT_ID, QAT)]);
    let mut agent = cluster.agent();
    cluster.serves(QAT, 2).await;
    remembered(&cluster.cache(), QAT);
    agent.terminate().unwrap();
    cluster.server.go_away();
    cluster.permit(&[(GPU_ID, GPU)]);

    let agent = cluster.agent();
    cluster.kubelet.wait_for("a second registration", PATIENCE, |state| state.registrations(QAT) == 2).await.unwrap();
    cluster.serves(QAT, 2).await;
    agent.wait_for_log("its last good state is remembered").unwrap();
    cluster.server.come_back().unwrap();
    cluster.serves(GPU, 1).await;
    cluster.serves(QAT, 0).await;
    remembered(&cluster.cache(), GPU);
}

#[tokio::test]
async fn of_two_that_run_beside_each_other_the_one_that_keeps_the_state_remembers() {
    let cluster = Cluster::start().await;
    cluster.permit(&[(QAT_ID, QAT)]);
    let start = || cluster.builder().state_dir(&cluster.folder.path().join("state")).start().unwrap();
    let mut old = start();
    cluster.serves(QAT, 2).await;
    remembered(&cluster.cache(), QAT);
    let mut new = start();
    cluster.kubelet.wait_for("both are registered", PATIENCE, |state| state.registrations(QAT) == 2).await.unwrap();
    assert!(new.log().contains("serves beside it"), "{}", new.log());

    // The old one hears of nothing any more, and keeps the state still.
    old.signal(Signal::STOP).unwrap();
    cluster.permit(&[(QAT_ID, QAT), (GPU_ID, GPU)]);
    cluster.serves(GPU, 1).await;
    let text = fs::read_to_string(cluster.cache().join("kubevirt.json")).unwrap();
    assert!(text.contains(QAT) && !text.contains(GPU), "the new one has written: {text}");
    old.signal(Signal::KILL).unwrap();
    old.wait().unwrap();
    new.wait_for_log("this one keeps the state now").unwrap();
    remembered(&cluster.cache(), GPU);
    assert!(new.is_running().unwrap());
}

#[tokio::test]
async fn one_that_has_not_reached_the_api_server_goes_on_with_what_the_other_remembered_last() {
    let mut cluster = Cluster::start().await;
    cluster.permit(&[(QAT_ID, QAT)]);
    let state = cluster.folder.path().join("state");
    let mut old = cluster.builder().state_dir(&state).start().unwrap();
    cluster.serves(QAT, 2).await;
    remembered(&cluster.cache(), QAT);
    // Its way to the API server leads nowhere.
    let lost = cluster.builder().state_dir(&state).variable("KUBECONFIG", "/nowhere/kubeconfig").start().unwrap();
    cluster.kubelet.wait_for("both are registered", PATIENCE, |state| state.registrations(QAT) == 2).await.unwrap();
    cluster.permit(&[(QAT_ID, QAT), (GPU_ID, GPU)]);
    cluster.serves(GPU, 1).await;
    remembered(&cluster.cache(), GPU);
    cluster.server.go_away();
    let registrations = cluster.kubelet.look(|state| state.registrations(GPU));
    old.terminate().unwrap();
    lost.wait_for_log("this one keeps the state now").unwrap();
    cluster
        .kubelet
        .wait_for("the other one serves the GPU, too", PATIENCE, |state| {
            state.registrations(GPU) > registrations && state.allocatable(GPU) == 1 && state.allocatable(QAT) == 2
        })
        .await
        .unwrap();
}

/// Waits until the remembered configuration names a resource.
pub fn remembered(cache: &Path, resource: &str) {
    let begun = std::time::Instant::now();
    while !fs::read_to_string(cache.join("kubevirt.json")).is_ok_and(|text| text.contains(resource)) {
        assert!(begun.elapsed() < PATIENCE, "{resource} is not remembered");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[tokio::test]
async fn who_looks_at_the_host_knows_what_the_remembered_cr_permits() {
    let cluster = Cluster::start().await;
    cluster.permit(&[(QAT_ID, QAT)]);
    let devices = || {
        let mut command = std::process::Command::new(vfiod_tests::agent::binary());
        command.args(["devices", "--from=host", "--kubevirt", "-o", "json", "--host-root"]).arg(cluster.node.root());
        command.arg("--kubelet-dir").arg(cluster.folder.path().join("kubelet"));
        let output = command.arg("--cache-dir").arg(cluster.cache()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let of =
            |device: &serde_json::Value| (device["resource"].as_str().map(str::to_owned), device["served"] == true);
        let listed: Vec<_> = list["devices"].as_array().unwrap().iter().map(of).collect();
        (listed, String::from_utf8(output.stderr).unwrap())
    };
    let (unknown, said) = devices();
    assert!(unknown.len() > 2 && unknown.iter().all(|(resource, _)| resource.is_none()), "{unknown:?}");
    assert!(said.contains("no KubeVirt CR is remembered") && said.contains("--cache-dir"), "{said}");

    let _agent = cluster.agent();
    cluster.serves(QAT, 2).await;
    remembered(&cluster.cache(), QAT);
    let (listed, said) = devices();
    assert_eq!(listed, vec![(Some(QAT.to_owned()), true); 2], "{said}");
}

#[tokio::test]
async fn a_damaged_memory_is_told_and_ignored() {
    let mut cluster = Cluster::start().await;
    cluster.server.go_away();
    fs::create_dir(cluster.cache()).unwrap();
    fs::write(cluster.cache().join("kubevirt.json"), b"{\"format\":1,\"namesp").unwrap();
    let agent = cluster.agent();
    agent.wait_for_log("kubevirt.json: the remembered configuration is ignored").unwrap();
    cluster.permit(&[(QAT_ID, QAT)]);
    cluster.server.come_back().unwrap();
    cluster.serves(QAT, 2).await;
    remembered(&cluster.cache(), QAT);
}

#[tokio::test]
async fn an_api_server_that_goes_and_comes_back_costs_nothing() {
    let mut cluster = Cluster::start().await;
    cluster.permit(&[(QAT_ID, QAT)]);
    let agent = cluster.agent();
    cluster.serves(QAT, 2).await;
    let messages = cluster.kubelet.look(|state| state.listings(QAT).len());
    for round in 0..3 {
        let watches = cluster.asked("watch=");
        cluster.server.go_away();
        agent.wait_for_log("what is in force stays").unwrap();
        cluster.server.come_back().unwrap();
        cluster.watched_again(watches);
        cluster.kubelet.look(|state| {
            assert_eq!((state.registrations(QAT), state.listings(QAT).len()), (1, messages), "round {round}");
        });
    }
    cluster.permit(&[(QAT_ID, QAT), (GPU_ID, GPU)]);
    cluster.serves(GPU, 1).await;
}

#[tokio::test]
async fn readiness_and_metrics_say_how_it_is_with_the_cr() {
    let mut cluster = Cluster::start().await;
    cluster.permit(&[(QAT_ID, QAT)]);
    cluster.server.go_away();
    let start = |cluster: &Cluster| {
        let agent = cluster.builder().flag("--metrics", "127.0.0.1:0").start().unwrap();
        let before = "metrics and readiness are on http://";
        agent.wait_for_log(before).unwrap();
        let address = agent.log().split(before).nth(1).unwrap().split('/').next().unwrap().to_owned();
        (agent, address)
    };
    // A look at the page and at the metrics, until both are as they should be.
    let says = async |address: &str, status: u16, readiness: &str, metrics: &[&str]| {
        let begun = std::time::Instant::now();
        loop {
            let [ready, told] = ["/readyz", "/metrics"].map(|path| web::get(address, path).unwrap());
            let has = |metric: &&str| told.body.lines().any(|line| line == *metric);
            if ready.status == status && ready.body.contains(readiness) && metrics.iter().all(has) {
                break;
            }
            let wanted = format!("{status} {readiness} {metrics:?}");
            assert!(begun.elapsed() < PATIENCE, "{wanted}: {} {}\n{}", ready.status, ready.body, told.body);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    const DEGRADED: &str = "vfiod_condition{part=\"cluster\",condition=\"degraded\"} 1";
    const GOOD: &str = "vfiod_condition{part=\"cluster\",condition=\"good\"} 1";
    let state = |state: &str| format!("vfiod_configuration{{source=\"kubevirt\",state=\"{state}\"}} 1");

    let (mut agent, address) = start(&cluster);
    says(&address, 503, "degraded cluster: the API server cannot be reached", &[DEGRADED, &state("waiting")]).await;
    assert!(!web::get(&address, "/metrics").unwrap().body.contains("vfiod_api_failures_total 0\n"));
    cluster.server.come_back().unwrap();
    says(&address, 200, "good     cluster: KubeVirt kubevirt/kubevirt", &[GOOD, &state("current")]).await;
    cluster.permit(&[("8086", GPU), (QAT_ID, QAT)]);
    says(&address, 200, "degraded configuration: ", &[GOOD, &state("part")]).await;
    cluster.permit(&[(QAT_ID, QAT)]);
    says(&address, 200, "good     configuration: ", &[GOOD, &state("current")]).await;
    cluster.server.delete(KV.0, KV.1);
    says(&address, 200, "degraded cluster: ", &[DEGRADED, &state("current")]).await;
    remembered(&cluster.cache(), QAT);
    cluster.server.go_away();
    agent.terminate().unwrap();
    let (_agent, address) = start(&cluster);
    says(&address, 200, "degraded configuration: KubeVirt kubevirt/kubevirt was not read yet", &[&state("remembered")])
        .await;
}

#[tokio::test]
async fn a_watch_that_is_cut_expired_or_forgotten_begins_anew() {
    let cluster = Cluster::start().await;
    cluster.permit(&[(QAT_ID, QAT)]);
    let _agent = cluster.agent();
    cluster.serves(QAT, 2).await;
    let mut entries = vec![(QAT_ID, QAT)];
    type Break = (&'static str, fn(&ApiServer));
    let breaks: [Break; 4] = [
        ("vendor.com/cut", |server| server.cut()),
        ("vendor.com/event", |server| server.forget(Gone::Event)),
        ("vendor.com/bookmark", |server| {
            server.bookmark();
            server.cut();
        }),
        ("vendor.com/status", |server| server.forget(Gone::Status)),
    ];
    for (resource, breaking) in breaks {
        let watches = cluster.asked("watch=");
        breaking(&cluster.server);
        cluster.watched_again(watches);
        entries.truncate(1);
        entries.push((GPU_ID, resource));
        cluster.permit(&entries);
        cluster.serves(resource, 1).await;
    }
    cluster.kubelet.look(|state| assert_eq!(state.registrations(QAT), 1));
}

#[tokio::test]
async fn a_cr_that_is_deleted_leaves_what_it_permitted() {
    let cluster = Cluster::start().await;
    cluster.permit(&[(QAT_ID, QAT)]);
    let agent = cluster.agent();
    cluster.serves(QAT, 2).await;
    cluster.server.delete(KV.0, KV.1);
    agent.wait_for_log("does not exist; the last good configuration stays in force").unwrap();
    cluster.serves(QAT, 2).await;
    cluster.permit(&[(GPU_ID, GPU)]);
    cluster.serves(GPU, 1).await;
    cluster.serves(QAT, 0).await;
}

#[tokio::test]
async fn two_crs_are_both_named_and_one_can_be_chosen() {
    let cluster = Cluster::start().await;
    cluster.permit(&[(QAT_ID, QAT)]);
    let agent = cluster.agent();
    cluster.serves(QAT, 2).await;
    cluster.server.permit("other", "kv", &[(GPU_ID, GPU)]);
    agent.wait_for_log("there are several KubeVirt CRs, kubevirt/kubevirt and other/kv").unwrap();
    cluster.serves(QAT, 2).await;
    cluster.kubelet.look(|state| assert!(!state.has_resource(GPU)));
    cluster.server.delete(KV.0, KV.1);
    cluster.serves(GPU, 1).await;
    drop(agent);

    cluster.permit(&[(AUDIO_ID, AUDIO)]);
    let kubeconfig = cluster.folder.path().join("kubeconfig");
    let _agent = Agent::builder(cluster.node.root(), &cluster.folder.path().join("kubelet"), "")
        .without_config()
        .variable("KUBECONFIG", kubeconfig.to_str().unwrap())
        .flag("--kubevirt", "kubevirt/kubevirt")
        .start()
        .unwrap();
    cluster.serves(AUDIO, 1).await;
    assert!(cluster.asked("/namespaces/kubevirt/kubevirts") > 0);
}

#[tokio::test]
async fn a_malformed_entry_keeps_its_last_good_definition_and_the_others_follow() {
    let cluster = Cluster::start().await;
    cluster.permit(&[(QAT_ID, QAT)]);
    let mut agent = cluster.agent();
    cluster.serves(QAT, 2).await;
    cluster.permit(&[("8086", QAT), (GPU_ID, GPU)]);
    cluster.serves(GPU, 1).await;
    agent
        .wait_for_log("KubeVirt kubevirt/kubevirt: spec.configuration.permittedHostDevices.pciHostDevices[0]")
        .unwrap();
    cluster.serves(QAT, 2).await;
    remembered(&cluster.cache(), GPU);
    agent.terminate().unwrap();
    // What was good before is good after a restart, too.
    let agent = cluster.agent();
    cluster.kubelet.wait_for("a second registration", PATIENCE, |state| state.registrations(QAT) == 2).await.unwrap();
    cluster.serves(QAT, 2).await;

    cluster.server.apply(KV.0, KV.1, json!({ "configuration": { "permittedHostDevices": [1] } }));
    agent.wait_for_log("the last good configuration stays in force").unwrap();
    cluster.serves(QAT, 2).await;
    cluster.permit(&[(AUDIO_ID, AUDIO)]);
    cluster.serves(AUDIO, 1).await;
    cluster.serves(QAT, 0).await;
}

#[tokio::test]
async fn a_refusal_is_told_with_its_remedy_and_outlasted() {
    let cluster = Cluster::start().await;
    cluster.permit(&[(QAT_ID, QAT)]);
    cluster.server.refuse(Some(Refusal::all(403)));
    let agent = cluster.agent();
    agent.wait_for_log("403: ").unwrap();
    agent.wait_for_log("docs/KUBEVIRT.md").unwrap();
    cluster.server.refuse(Some(Refusal::all(401)));
    agent.wait_for_log("its service account has a token").unwrap();
    cluster.server.refuse(None);
    cluster.serves(QAT, 2).await;
}

#[tokio::test]
async fn settings_come_from_the_file_and_permits_in_both_are_refused() {
    let cluster = Cluster::start().await;
    cluster.permit(&[(QAT_ID, QAT)]);
    let file = cluster.folder.path().join("settings.yaml");
    fs::write(&file, "envNames: kubevirt\n").unwrap();
    let mut agent = cluster.builder().config_at(&file).start().unwrap();
    cluster.serves(QAT, 2).await;
    let names = async |pod: &str| -> Vec<String> {
        let spec = PodSpec::new("vms", pod).container("compute", [(QAT, 1)]);
        let pod = cluster.kubelet.admit(spec).await.unwrap();
        pod.container("compute").unwrap().options.envs.keys().cloned().collect()
    };
    assert_eq!(names("first").await, ["PCI_RESOURCE_INTEL_COM_QAT"]);
    fs::write(&file, "envNames: seed\n").unwrap();
    agent.wait_for_log("settings=true").unwrap();
    assert_eq!(names("second").await, ["PCI_RESOURCE_INTEL_COM_qat"]);

    fs::write(&file, pci_config(&[(GPU_ID, GPU)])).unwrap();
    agent.wait_for_log("permits devices, and so does the only KubeVirt CR of the cluster (--kubevirt)").unwrap();
    cluster.kubelet.look(|state| assert_eq!(state.devices(QAT).len(), 2));
    agent.terminate().unwrap();
    let mut agent = cluster.builder().config_at(&file).start().unwrap();
    assert_eq!(agent.wait().unwrap().code(), Some(3));
    let log = agent.log();
    assert!(log.contains("settings.yaml:2:3") && log.contains("the only KubeVirt CR"), "{log}");
}

#[tokio::test]
async fn without_access_to_an_api_server_the_way_to_it_is_told() {
    let cluster = Cluster::start().await;
    let agent = cluster.builder().variable("KUBECONFIG", "/nowhere/kubeconfig").start().unwrap();
    agent.wait_for_log("there is no access to an API server").unwrap();
    agent.wait_for_log("set KUBECONFIG").unwrap();
    cluster.kubelet.look(|state| assert!(ids(state, QAT, Health::Healthy).is_empty()));
}
