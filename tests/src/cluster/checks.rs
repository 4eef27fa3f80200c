//! The checks, one sentence each.

use super::{
    Cluster, kubevirt,
    node::{self, Counts, GPU, QAT, VGPU},
    parts::Part,
};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

/// What the host has of the documented example, all of it free and healthy.
const ALL: [Counts; 3] = [Some((4, 4)), Some((2, 2)), Some((4, 4))];
const RESOURCES: [&str; 3] = [GPU, QAT, VGPU];
/// The pod that has devices while everything else is killed.
const POD: &str = "launcher";

/// Makes every check, prints a line for each, and says how many failed.
pub(super) fn run(cluster: &mut Cluster) -> usize {
    let mut failed = 0;
    let mut add = |sentence: &str, outcome: Result<String>| {
        match &outcome {
            Ok(measured) if measured.is_empty() => println!("ok   {sentence}"),
            Ok(measured) => println!("ok   {sentence} ({measured})"),
            Err(error) => println!("FAIL {sentence}: {error:#}"),
        }
        failed += usize::from(outcome.is_err());
        outcome.is_ok()
    };
    if !add("build-and-deploy gives a node that shows the seed's resources", deploy(cluster)) {
        return failed;
    }
    add("an edit of the CR is followed, and the other resources stay", edit(cluster));
    add("a pod gets the variables and nodes of the devices that it asks for", pod(cluster));
    add("a lost node is told: fewer are allocatable, and the node has an Event", lost(cluster));
    add("`kubectl exec … vfiod devices` knows resources and owners", looks(cluster));
    for case in cases() {
        let killed: Vec<String> = case.iter().map(ToString::to_string).collect();
        let sentence = format!("killed: {}; the node's capacity is true again, and the pod runs on", killed.join(", "));
        add(&sentence, killed_and_back(cluster, &case));
    }
    add("a second build-and-deploy replaces the pod, and the node is the same", deploy(cluster));
    failed
}

fn counts(cluster: &Cluster) -> Result<[Counts; 3]> {
    node::counts(&cluster.kubectl, RESOURCES)
}

fn until_counts(cluster: &mut Cluster, expected: [Counts; 3]) -> Result<Duration> {
    cluster.until(&format!("the node has {expected:?} of {RESOURCES:?}"), |cluster| {
        let found = counts(cluster)?;
        ensure!(found == expected, "it has {found:?}");
        Ok(true)
    })
}

/// As a stranger would: cargo and kubectl, nothing else.
fn deploy(cluster: &mut Cluster) -> Result<String> {
    let overlay = cluster.host.overlay(&cluster.setting, &cluster.workspace)?;
    let begun = Instant::now();
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["xtask", "build-and-deploy", "--load", "containerd", "--overlay"])
        .arg(overlay)
        .current_dir(&cluster.workspace)
        .env("KUBECONFIG", cluster.setting.admin())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "it ended with {status}");
    until_counts(cluster, ALL)?;
    Ok(format!("{:.0} s", begun.elapsed().as_secs_f64()))
}

fn edit(cluster: &mut Cluster) -> Result<String> {
    kubevirt::permit(&cluster.kubectl, &cluster.setting, &kubevirt::SEED[..2])?;
    // A kubelet keeps the capacity of a resource that is not served any more for five minutes.
    let without = cluster.until("the vGPUs are not allocatable any more", |cluster| {
        let [gpu, qat, vgpu] = counts(cluster)?;
        ensure!((gpu, qat) == (ALL[0], ALL[1]), "the others changed: {gpu:?}, {qat:?}");
        Ok(vgpu.is_none_or(|(_, allocatable)| allocatable == 0))
    })?;
    kubevirt::permit(&cluster.kubectl, &cluster.setting, &kubevirt::SEED)?;
    let again = until_counts(cluster, ALL)?;
    Ok(format!("within {:.2} s", without.max(again).as_secs_f64()))
}

fn pod(cluster: &mut Cluster) -> Result<String> {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {POD}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
         containers:\n  - name: compute\n    image: {}\n    command: [/bin/busybox, sleep, \"2147483647\"]\n    \
         resources: {{limits: {{{GPU}: 2, {VGPU}: 1, {QAT}: 1}}}}\n",
        super::image::NAME
    );
    let file = cluster.setting.at("pod.yaml");
    fs::write(&file, text)?;
    cluster.kubectl.apply(&file)?;
    cluster.until("the pod runs", |cluster| Ok(identity(cluster)?.1))?;
    let env = cluster.kubectl.text(&["exec", POD, "--", "/bin/busybox", "env"])?;
    let of = |name: &str| env.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
    for (name, count) in [
        ("PCI_RESOURCE_NVIDIA_COM_TU104GL_TESLA_T4", 2),
        ("PCI_RESOURCE_NVIDIA_COM_TU104GL_Tesla_T4", 2),
        ("PCI_RESOURCE_INTEL_COM_QAT", 1),
        ("MDEV_PCI_RESOURCE_NVIDIA_COM_GRID_T4-1Q", 1),
    ] {
        let value = of(name).with_context(|| format!("there is no {name} in\n{env}"))?;
        ensure!(value.split(',').count() == count, "{name}={value}");
    }
    let nodes = cluster.kubectl.text(&["exec", POD, "--", "/bin/busybox", "ls", "/dev/vfio"])?;
    ensure!(nodes.split_whitespace().count() == 5, "/dev/vfio is not `vfio` and four groups: {nodes}");
    Ok(String::new())
}

/// What changes when the pod's container is another one, and whether it runs.
fn identity(cluster: &Cluster) -> Result<(String, bool)> {
    let pod = cluster.kubectl.json(&["get", "pod", POD])?;
    let of = |field: &str| pod.pointer(&format!("/status/containerStatuses/0/{field}"));
    Ok((of("containerID").map(ToString::to_string).unwrap_or_default(), of("ready").is_some_and(|ready| ready == true)))
}

fn lost(cluster: &mut Cluster) -> Result<String> {
    // The pod has two of the four cards; which ones is the kubelet's choice.
    cluster.host.first_card(false)?;
    let less = [Some((4, 3)), ALL[1], ALL[2]];
    let told = until_counts(cluster, less)?;
    cluster.until("`kubectl describe node` shows the Event", |cluster| {
        let said = cluster.kubectl.text(&["describe", "node", super::setting::NODE])?;
        Ok(said.contains("DeviceUnhealthy") && said.contains("/dev/vfio/31 is missing"))
    })?;
    cluster.host.first_card(true)?;
    let mended = until_counts(cluster, ALL)?;
    Ok(format!("within {:.2} s", told.max(mended).as_secs_f64()))
}

fn looks(cluster: &mut Cluster) -> Result<String> {
    let exec = |words: &[&str]| {
        let before = ["--namespace", "vfiod", "exec", "daemonset/vfiod", "--", "vfiod"];
        cluster.kubectl.text(&[before.as_slice(), words].concat())
    };
    let devices = exec(&["devices"])?;
    for part in [GPU, QAT, VGPU, POD] {
        ensure!(devices.contains(part), "it says nothing of {part}:\n{devices}");
    }
    let top = exec(&["top", "--once"])?;
    ensure!(top.contains(POD), "`vfiod top --once` does not name the owner:\n{top}");
    Ok(String::new())
}

/// What can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    ApiServer,
    Kubelet,
    /// Its container is started again by the kubelet, so it is back last.
    Agent,
}

impl std::fmt::Display for Victim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ApiServer => "API server",
            Self::Kubelet => "kubelet",
            Self::Agent => "vfiod",
        })
    }
}

/// Each alone, and all three in every order.
fn cases() -> Vec<Vec<Victim>> {
    let [a, b, c] = [Victim::Agent, Victim::Kubelet, Victim::ApiServer];
    let all = [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]];
    [a, b, c].map(|one| vec![one]).into_iter().chain(all.map(Vec::from)).collect()
}

/// While they are away a device is lost or comes back: what the API server remembers is wrong until it is told.
fn killed_and_back(cluster: &mut Cluster, case: &[Victim]) -> Result<String> {
    let before = identity(cluster)?;
    let old = agents()?;
    for victim in case {
        match victim {
            Victim::ApiServer => cluster.parts.kill(Part::ApiServer)?,
            Victim::Kubelet => cluster.parts.kill(Part::Kubelet)?,
            Victim::Agent => kill(&old)?,
        }
    }
    cluster.host.first_card(false)?;
    let mut back = case.to_vec();
    back.sort_unstable();
    // The two that are started here come back in the order in which they were killed.
    back.sort_by_key(|victim| (*victim == Victim::Agent, case.iter().position(|one| one == victim)));
    for victim in &back {
        match victim {
            Victim::ApiServer => start(cluster, Part::ApiServer)?,
            Victim::Kubelet => start(cluster, Part::Kubelet)?,
            Victim::Agent => {
                cluster.until("vfiod runs again", |_| Ok(agents()?.iter().any(|pid| !old.contains(pid))))?;
            }
        }
    }
    let took = until_counts(cluster, [Some((4, 3)), ALL[1], ALL[2]])?;
    sleep(Duration::from_secs(1));
    ensure!(counts(cluster)?[1..] == ALL[1..], "it was true and is not any more: {:?}", counts(cluster)?);
    cluster.host.first_card(true)?;
    until_counts(cluster, ALL)?;
    ensure!(identity(cluster)? == before, "the pod was touched: it was {before:?}, and is {:?}", identity(cluster)?);
    if case.contains(&Victim::ApiServer) {
        // These two would ask the API server again only after half a minute.
        for part in [Part::Controllers, Part::Scheduler] {
            cluster.parts.kill(part)?;
            cluster.parts.start(part)?;
        }
    }
    if case.contains(&Victim::Agent) {
        // A new pod: the kubelet makes one that died several times wait for minutes.
        cluster.kubectl.text(&["--namespace", "vfiod", "delete", "pod", "--all"])?;
        cluster.kubectl.text(&["--namespace", "vfiod", "rollout", "status", "daemonset/vfiod", "--timeout=120s"])?;
        until_counts(cluster, ALL)?;
    }
    Ok(format!("{:.2} s after the last one was back", took.as_secs_f64()))
}

fn start(cluster: &mut Cluster, part: Part) -> Result<()> {
    cluster.parts.start(part)?;
    cluster.parts.wait(part)
}

/// Processes `vfiod run`: in these namespaces every one is the pod's.
fn agents() -> Result<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse() else { continue };
        let line = fs::read_to_string(format!("/proc/{name}/cmdline")).unwrap_or_default();
        let mut words = line.split('\0');
        if words.next().is_some_and(|program| program.ends_with("vfiod")) && words.next() == Some("run") {
            found.insert(pid);
        }
    }
    Ok(found)
}

fn kill(agents: &BTreeSet<i32>) -> Result<()> {
    ensure!(!agents.is_empty(), "vfiod does not run");
    for pid in agents {
        let pid = rustix::process::Pid::from_raw(*pid).context("no process has the number 0")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    }
    Ok(())
}
