//! What is permitted, how it is changed while it is served, and what a mistake in it costs.

use crate::scene::*;
use rustix::process::Signal;
use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{Health, Kubelet, PodSpec},
    node::{MdevSpec, MdevType, Node, PciSpec},
};
use vfiod_tests::{Agent, agent::PATIENCE};

const UUID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

/// Two GPUs, two QATs and a vGPU.
fn node() -> Node {
    Node::builder()
        .pci(PciSpec::new("0000:01:00.0", GPU_ID).driver("vfio-pci"))
        .pci(PciSpec::new("0000:02:00.0", GPU_ID).driver("vfio-pci"))
        .pci(PciSpec::new("0000:03:00.0", QAT_ID).driver("vfio-pci"))
        .pci(PciSpec::new("0000:04:00.0", QAT_ID).driver("vfio-pci"))
        .pci(
            PciSpec::new("0000:05:00.0", "10DE:2230")
                .driver("nvidia")
                .mdev_type(MdevType::new("nvidia-1", "GRID T4-1Q")),
        )
        .mdev(MdevSpec::new(UUID, "0000:05:00.0", "nvidia-1"))
        .build()
        .unwrap()
}

async fn started(node: &Node, folder: &TempDir, config: &str) -> (Kubelet, Agent) {
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    age(&kubelet);
    let agent = Agent::builder(node.root(), folder.path(), config).start().unwrap();
    (kubelet, agent)
}

async fn variables(kubelet: &Kubelet, resources: &[(&str, usize)]) -> Vec<(String, String)> {
    let spec = PodSpec::new("vms", "vm").container("compute", resources.iter().copied());
    let pod = kubelet.admit(spec).await.unwrap();
    pod.container("compute").unwrap().options.envs.clone().into_iter().collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    pairs.sort();
    pairs
}

const T4: &str = "nvidia.com/TU104GL_Tesla_T4";

#[tokio::test]
async fn variables_have_both_spellings_one_of_them_or_more_names() {
    let upper = ("PCI_RESOURCE_NVIDIA_COM_TU104GL_TESLA_T4", "0000:01:00.0,0000:02:00.0");
    let mixed = ("PCI_RESOURCE_NVIDIA_COM_TU104GL_Tesla_T4", "0000:01:00.0,0000:02:00.0");
    for (names, expected) in [("both", &[upper, mixed][..]), ("kubevirt", &[upper][..]), ("seed", &[mixed][..])] {
        let (node, folder) = (node(), TempDir::new().unwrap());
        let config = format!("envNames: {names}\n{}", pci_config(&[(GPU_ID, T4)]));
        let (kubelet, _agent) = started(&node, &folder, &config).await;
        kubelet.wait_for("two GPUs", PATIENCE, |state| state.allocatable(T4) == 2).await.unwrap();
        assert_eq!(variables(&kubelet, &[(T4, 2)]).await, pairs(expected), "{names}");
    }
}

#[tokio::test]
async fn a_resource_of_both_kinds_sets_both_prefixes_and_aliases_carry_their_kind() {
    let config = format!(
        "permittedHostDevices:
  pciHostDevices:
  - {{pciVendorSelector: '{QAT_ID}', resourceName: intel.com/qat, envAliases: [PCI_RESOURCE_INTEL_QAT, ALL]}}
  mediatedDevices:
  - {{mdevNameSelector: GRID T4-1Q, resourceName: intel.com/qat}}
"
    );
    let (node, folder) = (node(), TempDir::new().unwrap());
    let (kubelet, _agent) = started(&node, &folder, &config).await;
    kubelet.wait_for("three devices", PATIENCE, |state| state.allocatable(QAT) == 3).await.unwrap();
    let pci = "0000:03:00.0,0000:04:00.0";
    let set = variables(&kubelet, &[(QAT, 3)]).await;
    for (name, value) in [
        ("PCI_RESOURCE_INTEL_COM_QAT", pci),
        ("PCI_RESOURCE_INTEL_COM_qat", pci),
        ("PCI_RESOURCE_INTEL_QAT", pci),
        ("MDEV_PCI_RESOURCE_INTEL_COM_QAT", UUID),
        ("MDEV_PCI_RESOURCE_INTEL_COM_qat", UUID),
    ] {
        assert!(set.contains(&(name.to_owned(), value.to_owned())), "{name}={value} in {set:?}");
    }
}

fn kubevirt_cr(entries: &[(&str, &str, bool)]) -> String {
    let mut text = "apiVersion: kubevirt.io/v1
kind: KubeVirt
metadata: {name: kubevirt, namespace: kubevirt}
spec:
  imagePullPolicy: IfNotPresent
  configuration:
    developerConfiguration: {featureGates: [HostDevices]}
    permittedHostDevices:
      pciHostDevices:
"
    .to_owned();
    for (selector, name, external) in entries {
        text += &format!(
            "      - {{pciVendorSelector: '{selector}', resourceName: {name}, externalResourceProvider: {external}}}\n"
        );
    }
    text
}

#[tokio::test]
async fn of_a_kubevirt_cr_the_entries_left_to_others_are_served_unless_told_otherwise() {
    let cr = kubevirt_cr(&[(GPU_ID, GPU, true), (QAT_ID, QAT, false)]);
    for (mode, served) in [("auto", vec![GPU]), ("external", vec![GPU]), ("all", vec![QAT, GPU])] {
        let (node, folder) = (node(), TempDir::new().unwrap());
        let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
        let _agent = Agent::builder(node.root(), folder.path(), &cr).flag("--serve", mode).start().unwrap();
        kubelet
            .wait_for("what is served", PATIENCE, |state| served.iter().all(|name| state.allocatable(name) == 2))
            .await
            .unwrap();
        assert_eq!(kubelet.look(|state| state.resources()), served, "{mode}");
    }
    let (node, folder) = (node(), TempDir::new().unwrap());
    let (_kubelet, agent) = started(&node, &folder, &kubevirt_cr(&[(GPU_ID, GPU, false), (QAT_ID, QAT, false)])).await;
    agent.wait_for_log("of 2 permitted resources none is served").unwrap();
    agent.wait_for_log("--serve all").unwrap();
}

#[tokio::test]
async fn a_reload_adds_removes_and_changes_resources_and_leaves_the_others_alone() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let (kubelet, agent) = started(&node, &folder, &pci_config(&[(GPU_ID, GPU), (QAT_ID, QAT)])).await;
    let both = |name| move |state: &vfiod_simulator::kubelet::State| state.allocatable(name) == 2;
    kubelet.wait_for("two GPUs", PATIENCE, both(GPU)).await.unwrap();
    kubelet.wait_for("two QATs", PATIENCE, both(QAT)).await.unwrap();
    let untouched = |kubelet: &Kubelet| (kubelet.registrations(GPU), kubelet.watch(GPU).len());
    let before = untouched(&kubelet);

    // Removed, added, changed back and forth.
    agent.configure(&pci_config(&[(GPU_ID, GPU), (QAT_ID, "intel.com/other")])).unwrap();
    kubelet.wait_for("the new name", PATIENCE, both("intel.com/other")).await.unwrap();
    kubelet
        .wait_for("the old name has ended", PATIENCE, |state| !state.is_connected(QAT) && state.capacity(QAT) == 0)
        .await
        .unwrap();
    let last = kubelet.watch(QAT).pop().unwrap();
    assert_eq!((last.healthy, last.unhealthy), (0, 0), "it truly has no device any more");

    agent.configure(&pci_config(&[(GPU_ID, GPU), (QAT_ID, QAT)])).unwrap();
    kubelet.wait_for("the old name is back", PATIENCE, both(QAT)).await.unwrap();
    kubelet.wait_for("the other is gone", PATIENCE, |state| state.capacity("intel.com/other") == 0).await.unwrap();

    let with_alias = pci_config(&[(GPU_ID, GPU)])
        + &format!(
            "  - {{pciVendorSelector: '{QAT_ID}', resourceName: {QAT}, envAliases: [PCI_RESOURCE_INTEL_QAT]}}\n"
        );
    let registered = kubelet.registrations(QAT);
    agent.configure(&with_alias).unwrap();
    agent.wait_for_log("changed=\"intel.com/qat\"").unwrap();
    let set = variables(&kubelet, &[(QAT, 1)]).await;
    assert!(set.iter().any(|(name, _)| name == "PCI_RESOURCE_INTEL_QAT"), "{set:?}");
    assert_eq!(kubelet.registrations(QAT), registered, "a change of variables needs no registration");
    assert_eq!(untouched(&kubelet), before, "the other resource saw nothing of it");
}

#[tokio::test]
async fn a_resource_no_longer_permitted_ends_when_its_last_device_is_free() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let (kubelet, agent) = started(&node, &folder, &pci_config(&[(GPU_ID, GPU), (QAT_ID, QAT)])).await;
    kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    let pod = kubelet.admit(PodSpec::new("vms", "vm").container("compute", [(QAT, 1)])).await.unwrap();
    agent.configure(&pci_config(&[(GPU_ID, GPU)])).unwrap();
    kubelet.wait_for("only what is owned is listed", PATIENCE, |state| state.capacity(QAT) == 1).await.unwrap();
    let owned = pod.device_ids()[0].clone();
    assert_eq!(kubelet.look(|state| state.health(QAT, &owned)), Some(Health::Healthy));
    kubelet.start_container(pod.uid(), "compute").await.expect("its restart works as before");
    kubelet.finish_pod(pod.uid());
    agent.signal(Signal::HUP).unwrap(); // looks at the owners, too
    kubelet.wait_for("an empty list, and the end", PATIENCE, |state| !state.is_connected(QAT)).await.unwrap();
    let last = kubelet.watch(QAT).pop().unwrap();
    assert_eq!((last.healthy, last.unhealthy), (0, 0));
}

#[tokio::test]
async fn a_configmap_that_swaps_its_symlink_is_followed() {
    let (node, folder, volume) = (node(), TempDir::new().unwrap(), TempDir::new().unwrap());
    // kubernetes: pkg/volume/util/atomic_writer.go
    let publish = |generation: &str, text: &str| {
        fs::create_dir(volume.path().join(generation)).unwrap();
        fs::write(volume.path().join(generation).join("vfiod.yaml"), text).unwrap();
        symlink(generation, volume.path().join("..data_tmp")).unwrap();
        fs::rename(volume.path().join("..data_tmp"), volume.path().join("..data")).unwrap();
    };
    publish("..1", &pci_config(&[(GPU_ID, GPU)]));
    let path = volume.path().join("vfiod.yaml");
    symlink("..data/vfiod.yaml", &path).unwrap();
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), "").config_at(&path).start().unwrap();
    kubelet.wait_for("two GPUs", PATIENCE, |state| state.allocatable(GPU) == 2).await.unwrap();
    let mut old = "..1";
    for (generation, selector, name) in
        [("..2", QAT_ID, QAT), ("..3", GPU_ID, "a.com/third"), ("..4", QAT_ID, "a.com/fourth")]
    {
        publish(generation, &pci_config(&[(selector, name)]));
        fs::remove_dir_all(volume.path().join(old)).unwrap();
        kubelet.wait_for(name, PATIENCE, |state| state.allocatable(name) == 2).await.unwrap();
        old = generation;
    }
}

#[tokio::test]
async fn what_is_bad_keeps_its_last_good_definition_and_says_where_it_is_wrong() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let good = pci_config(&[(GPU_ID, GPU), (QAT_ID, QAT)]);
    let (kubelet, mut agent) = started(&node, &folder, &good).await;
    let serves = |state: &vfiod_simulator::kubelet::State| state.allocatable(GPU) == 2 && state.allocatable(QAT) == 2;
    kubelet.wait_for("both", PATIENCE, serves).await.unwrap();
    let registrations = (kubelet.registrations(GPU), kubelet.registrations(QAT));
    let line = |text: &str| format!("{}:{text}", agent.config_path().display());

    // The whole file.
    let whole = [("permittedHostDevices: [\n", line("2:")), ("- just\n- a list\n", line("1:1")), ("", line("1:1"))];
    for (text, place) in whole {
        agent.configure(text).unwrap();
        agent.wait_for_log(&place).unwrap();
        agent.wait_for_log("stays in force").unwrap();
    }
    fs::remove_file(agent.config_path()).unwrap();
    agent.signal(Signal::HUP).unwrap();
    agent.wait_for_log("No such file").unwrap();
    fs::write(agent.config_path(), [0xff, 0xfe, 0x00]).unwrap();
    agent.wait_for_log("UTF-8").unwrap();

    // One entry.
    agent.configure(&good.replace(QAT_ID, "8086:6F5")).unwrap();
    agent.wait_for_log(&line("4:")).unwrap();
    agent.wait_for_log("8086:6F5\" is not vendor:product").unwrap();
    // A setting.
    agent.configure(&format!("envNames: sed\nsurprise: 1\n{good}")).unwrap();
    agent.wait_for_log(&line("1:11")).unwrap();
    agent.wait_for_log("surprise").unwrap();

    assert!(kubelet.look(serves), "all of it is served as before");
    assert_eq!((kubelet.registrations(GPU), kubelet.registrations(QAT)), registrations);
    assert!(agent.is_running().unwrap());
    agent.configure(&pci_config(&[(GPU_ID, GPU)])).unwrap();
    kubelet.wait_for("a good file is taken again", PATIENCE, |state| state.capacity(QAT) == 0).await.unwrap();
}

#[tokio::test]
async fn a_bad_entry_at_the_start_costs_only_itself() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let config = pci_config(&[
        ("10DE", "a.com/malformed"),
        (GPU_ID, GPU),
        (GPU_ID, "a.com/twice"),
        (QAT_ID, "no-slash"),
        ("1:2", "requests.a.com/x"),
        (QAT_ID, QAT),
    ]);
    let (kubelet, agent) = started(&node, &folder, &config).await;
    kubelet
        .wait_for("the good ones", PATIENCE, |state| state.allocatable(GPU) == 2 && state.allocatable(QAT) == 2)
        .await
        .unwrap();
    assert_eq!(kubelet.look(|state| state.resources()), [QAT, GPU]);
    agent
        .configure(
            &(config + "  usb: [{resourceName: a.com/usb, selectors: [{vendor: \"0951\", product: \"1666\"}]}]\n"),
        )
        .unwrap();
    agent.wait_for_log("not served yet").unwrap();
    for line in [3, 5, 6, 7] {
        agent.wait_for_log(&format!("{}:{line}:", agent.config_path().display())).unwrap();
    }
}

/// Runs vfiod to its end.
fn vfiod(arguments: &[&str]) -> Output {
    Command::new(vfiod_tests::agent::binary()).args(arguments).output().unwrap()
}

#[test]
fn exit_codes_say_what_went_wrong() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good", &usual_config());
    let bad = file("bad", "permittedHostDevices: [");
    let setting = file("setting", &format!("envNames: maybe\n{}", usual_config()));
    let missing = folder.path().join("missing").to_str().unwrap().to_owned();
    let folder_itself = folder.path().to_str().unwrap().to_owned();
    for (arguments, code, words) in [
        (vec!["version"], 0, ""),
        (vec!["--version"], 0, ""),
        (vec!["run", "--help"], 0, ""),
        (vec!["check", &good], 0, ""),
        (vec!["check", &bad], 3, ":1:"),
        (vec!["check", &missing], 1, "No such file"),
        (vec!["run", "--config", &missing], 3, "No such file"),
        (vec!["run", "--config", &folder_itself], 3, folder_itself.as_str()),
        (vec!["run", "--config", &bad], 3, ":1:"),
        (vec!["run", "--config", &setting], 3, ":1:11"),
        (vec!["run"], 2, "--config"),
        (vec!["run", "--config", &good, "--serve", "some"], 2, "--serve"),
        (vec!["run", "--config", &good, "--io", "fast"], 2, "--io"),
        (vec!["run", "--config", &good, "--rescan", "0s"], 2, "--rescan"),
        (vec!["run", "--config", &good, "--rescan", "5"], 2, "--rescan"),
        (vec!["run", "--config", &good, "--log-format", "xml"], 2, "--log-format"),
        (vec!["run", "--config", &good, "--log-level", "=%"], 2, "--log-level"),
        (vec!["run", "--config", &good, "--surprise"], 2, "--surprise"),
        (vec![], 2, "Usage"),
        (vec!["surprise"], 2, "surprise"),
    ] {
        let output = vfiod(&arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
        assert!(err.contains(words), "{arguments:?}: {words:?} in {err}");
        assert_eq!(out.is_empty(), code != 0, "{arguments:?}: data is on stdout, and only data: {out}");
    }
}

#[tokio::test]
async fn every_flag_is_an_environment_variable_too_and_the_flag_wins() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let config = folder.path().join("config.yaml");
    fs::write(&config, kubevirt_cr(&[(GPU_ID, GPU, true), (QAT_ID, QAT, false)])).unwrap();
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let log = folder.path().join("log");
    let variables = [
        ("VFIOD_CONFIG", config.as_path()),
        ("VFIOD_HOST_ROOT", node.root()),
        ("VFIOD_KUBELET_DIR", folder.path()),
        ("VFIOD_SERVE", Path::new("all")),
        ("VFIOD_IO", Path::new("plain")),
        ("VFIOD_RESCAN", Path::new("100ms")),
        ("VFIOD_LOG_FORMAT", Path::new("json")),
        ("VFIOD_LOG_LEVEL", Path::new("debug")),
    ];
    let mut child = Command::new(vfiod_tests::agent::binary())
        .arg("run")
        .envs(variables)
        .args(["--log-level", "info"])
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let served = kubelet
        .wait_for("both are served", PATIENCE, |state| state.allocatable(GPU) == 2 && state.allocatable(QAT) == 2)
        .await;
    // Without events, only the short rescan can notice this.
    node.unbind("0000:01:00.0").unwrap();
    let noticed = kubelet.wait_for("the rescan", PATIENCE, |state| state.allocatable(GPU) == 1).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let log = fs::read_to_string(log).unwrap();
    served.and(noticed).unwrap_or_else(|error| panic!("{error}\n{log}"));
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["message"].is_string() && line["timestamp"].is_string(), "{line}");
        assert_ne!(line["level"], "DEBUG", "the flag wins");
    }
    assert!(log.contains("runs on plain"), "{log}");
}

#[test]
fn a_log_in_json_is_json_to_its_last_line() {
    let output = vfiod(&["run", "--config", "/nonexistent/vfiod.yaml", "--log-format", "json"]);
    assert_eq!(output.status.code(), Some(3));
    let log = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"].as_str().unwrap().contains("/nonexistent/vfiod.yaml")), "{log}");
}
