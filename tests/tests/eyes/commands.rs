//! `vfiod top --once` and `vfiod watch`, with a daemon and without.

use crate::scene::{CONFIG, QAT, Scene, eventually, qats, scene};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};
use tempfile::TempDir;
use vfiod_simulator::node::PciSpec;
use vfiod_tests::agent::{PATIENCE, binary};

struct Watch {
    child: Child,
    lines: Receiver<String>,
    said: Receiver<String>,
}

impl Watch {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(binary())
            .arg("watch")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
            let (told, lines) = channel();
            thread::spawn(move || {
                BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| told.send(line))
            });
            lines
        }
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Self { child, lines: lines(stdout), said: lines(stderr) }
    }

    /// The next line, which is one of these.
    fn next(&self) -> Value {
        serde_json::from_str(&self.lines.recv_timeout(PATIENCE).unwrap()).unwrap()
    }

    fn says(&self, what: &str) {
        while !self.said.recv_timeout(PATIENCE).unwrap().contains(what) {}
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn top(scene: &Scene, arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(["top", "--once"])
        .args(arguments)
        .arg("--status-socket")
        .arg(scene.agent.status_socket())
        .env("COLUMNS", "80")
        .env("LINES", "24")
        .output()
        .unwrap()
}

#[tokio::test]
async fn top_shows_one_frame_of_what_the_daemon_knows() {
    let scene = scene(qats(2000), CONFIG).await;
    let _stranger = scene.holder("dpdk-testpmd", None, 1234);
    scene.wait_for_metric("vfiod_device_holder_info").await;
    let shown = top(&scene, &[]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success() && text.contains("2000 devices, 1 unhealthy"), "{text}");
    let first = text.lines().skip_while(|line| !line.starts_with("DEVICE")).nth(1).unwrap();
    assert!(first.contains("Held") && first.contains("dpdk-testpmd"), "what is wrong stands first: {text}");
    assert!(text.lines().count() <= 24 && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let filtered = String::from_utf8(top(&scene, &["--filter", "dpdk"]).stdout).unwrap();
    assert!(filtered.contains("1 of 2000"), "{filtered}");
}

#[tokio::test]
async fn watch_tells_each_change_with_its_reason() {
    let scene = scene(qats(2), CONFIG).await;
    let socket = scene.agent.status_socket().display().to_string();
    let watch = Watch::start(&["-o", "json", "--status-socket", &socket]);
    watch.says("following the running vfiod");
    // It follows from here on; the first change is not told before everything was.
    scene.wait_for_metric("vfiod_ready 1").await;
    let stranger = scene.holder("dpdk-testpmd", None, 100);
    let opened = watch.next();
    assert_eq!((&opened["what"], &opened["holder"]["pid"]), (&"opened".into(), &stranger.pid().into()), "{opened}");
    let health = watch.next();
    assert_eq!((&health["what"], &health["reason"]), (&"health".into(), &"Held".into()), "{health}");
}

#[tokio::test]
async fn without_a_daemon_the_host_itself_is_shown_and_that_is_said() {
    let (node, folder) = (qats(2).build().unwrap(), TempDir::new().unwrap());
    let config = folder.path().join("config.yaml");
    fs::write(&config, CONFIG).unwrap();
    let [socket, config, root, kubelet] =
        [folder.path().join("none.sock"), config, node.root().to_owned(), folder.path().to_owned()]
            .map(|path| path.display().to_string());
    let host = ["--status-socket", &socket, "--config", &config, "--host-root", &root, "--kubelet-dir", &kubelet];
    let shown = Command::new(binary()).args(["top", "--once"]).args(host).output().unwrap();
    let (text, said) = (String::from_utf8(shown.stdout).unwrap(), String::from_utf8(shown.stderr).unwrap());
    assert!(said.contains("no vfiod answers on"), "{said}");
    assert!(text.contains("no daemon: the host itself") && text.contains("2 devices"), "{text}");

    let watch = Watch::start(&[&["-o", "json"], &host[..]].concat());
    watch.says("no vfiod answers on");
    let mut gone = false;
    eventually("the missing node", || {
        // The first look may come before or after it is taken away: only a change is told.
        if gone {
            node.node_back(100).unwrap()
        } else {
            node.node_gone(100).unwrap()
        }
        gone = !gone;
        watch.lines.recv_timeout(std::time::Duration::from_secs(2)).is_ok_and(|line| line.contains("NodeMissing"))
    })
    .await;
}

#[test]
fn top_without_a_terminal_says_what_to_do_instead() {
    let output = Command::new(binary()).arg("top").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--once") && said.contains("vfiod watch"), "{said}");
}

fn devices(scene: &Scene, arguments: &[&str]) -> Output {
    Command::new(binary())
        .arg("devices")
        .args(arguments)
        .arg("--status-socket")
        .arg(scene.agent.status_socket())
        .output()
        .unwrap()
}

/// The devices that it writes as JSON, by id.
fn told(scene: &Scene, arguments: &[&str]) -> (Value, std::collections::BTreeMap<String, Value>) {
    let output = devices(scene, &[arguments, &["-o", "json"]].concat());
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let by_id = list.get("devices").and_then(Value::as_array).unwrap().iter();
    let by_id =
        by_id.map(|device| (device.get("id").and_then(Value::as_str).unwrap().to_owned(), device.clone())).collect();
    (list, by_id)
}

#[tokio::test]
async fn devices_asks_the_daemon_and_shows_what_it_does_not_list_too() {
    let [held, owned, cordoned] = ["0001:01:00.0", "0001:01:01.0", "0001:01:02.0"];
    let (host, unpermitted) = ("0002:01:00.0", "0002:02:00.0");
    let builder = qats(3)
        .pci(PciSpec::new(host, "8086:6F54").driver("c6xx").group(200))
        .pci(PciSpec::new(unpermitted, "144D:A808").driver("vfio-pci").group(201));
    let scene = scene(builder, CONFIG).await;
    let stranger = scene.holder("dpdk-testpmd", None, 100);
    scene.wait_for_metric("vfiod_device_holder_info").await;
    let marked = Command::new(binary())
        .args(["cordon", cordoned, "--status-socket"])
        .arg(scene.agent.status_socket())
        .status()
        .unwrap();
    assert!(marked.success());
    scene.kubelet.wait_for("one is left", PATIENCE, |state| state.allocatable(QAT) == 1).await.unwrap();
    scene.admit("vm").await;
    // What follows needs a kubelet that answers meanwhile.
    let is_told = || told(&scene, &[]).1.get(owned).is_some_and(|device| device["owner"]["pod"] == "vm");
    eventually("the owner", is_told).await;

    let (list, devices_by_id) = told(&scene, &[]);
    assert_eq!((&list["source"], &list["complete"]), (&"daemon".into(), &true.into()), "{list}");
    let shown = |id: &str| {
        let device = devices_by_id.get(id).unwrap_or_else(|| panic!("{id}: {list}"));
        [&device["health"], &device["reason"], &device["listedAs"]]
            .map(|field| field.as_str().unwrap_or("-").to_owned())
    };
    assert_eq!(shown(held), ["Unhealthy", "Held", held]);
    assert_eq!(devices_by_id[held]["holders"][0]["pid"], stranger.pid());
    assert_eq!(shown(owned), ["Healthy", "Owned", owned]);
    // Only the daemon knows of a cordon.
    assert_eq!(shown(cordoned), ["Unhealthy", "Cordoned", cordoned]);
    // No list has this one, and the daemon's own configuration permits it.
    assert_eq!(shown(host), ["Unhealthy", "HostDriver", "-"]);
    assert_eq!(devices_by_id[host]["resource"], QAT);
    assert!(!devices_by_id.contains_key(unpermitted));
    assert_eq!(told(&scene, &["--all"]).1[unpermitted]["resource"], Value::Null);

    let table = devices(&scene, &[]);
    let (text, said) = (String::from_utf8(table.stdout).unwrap(), String::from_utf8(table.stderr).unwrap());
    assert!(said.starts_with("the running vfiod says so (") && said.lines().count() == 1, "{said}");
    let line = text.lines().find(|line| line.starts_with(held)).unwrap();
    assert!(line.contains(&format!("{} dpdk-testpmd (group)", stranger.pid())), "{line}");
}

#[tokio::test]
async fn devices_reads_the_host_when_it_is_told_to_and_says_what_it_does_not_look_at() {
    let scene = scene(qats(1), CONFIG).await;
    let [root, kubelet] = [scene.node.root(), scene.folder.path()].map(|path| path.display().to_string());
    let host = ["--host-root", &root, "--kubelet-dir", &kubelet];
    let output = devices(&scene, &host);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("not looked at: --host-root, --kubelet-dir; with --from host"), "{said}");
    // As in the daemon's own container: nobody has asked for these to be looked at.
    let mut inside = Command::new(binary());
    inside.args(["devices", "--status-socket"]).arg(scene.agent.status_socket());
    let inside = inside.env("VFIOD_HOST_ROOT", &root).env("VFIOD_KUBELET_DIR", &kubelet).output().unwrap();
    assert_eq!(String::from_utf8(inside.stderr).unwrap().lines().count(), 1, "who says it, and no more");
    assert_eq!(told(&scene, &host).0["source"], "daemon");
    assert_eq!(told(&scene, &[&host[..], &["--from", "host"]].concat()).0["source"], "host");
}

#[tokio::test]
async fn what_is_wrong_with_the_daemons_configuration_is_told_with_its_devices() {
    let scene =
        scene(qats(1), &CONFIG.replace("\n  pci", "\n  mediatedDevices: [{resourceName: a.com/b}]\n  pci")).await;
    let output = devices(&scene, &[]);
    let (text, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(text.contains("0001:01:00.0"), "{text}");
    assert!(said.contains("config.yaml:2:") && said.contains("1 problem(s), told above"), "{said}");
}
