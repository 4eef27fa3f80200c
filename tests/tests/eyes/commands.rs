//! `vfiod top --once` and `vfiod watch`, with a daemon and without.

use crate::scene::{CONFIG, Scene, eventually, qats, scene};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};
use tempfile::TempDir;
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
