//! The page in a real browser. Pictures of it are kept in `target/page/`.

use crate::scene::{CONFIG, Scene, qats, scene};
use std::{
    env, fs,
    path::{Path, PathBuf},
};
use tokio::task::spawn_blocking;
use vfiod_simulator::node::Node;
use vfiod_tests::{
    Agent,
    browser::{Browser, chromium},
};

/// Whether there is a browser; where a skip is not allowed, its absence is a failure.
fn available() -> bool {
    let Err(error) = chromium() else { return true };
    assert!(env::var_os("VFIOD_NO_SKIP").is_none(), "{error:#}");
    eprintln!("SKIPPED: {error:#}");
    false
}

/// Where a picture goes.
fn picture(name: &str) -> PathBuf {
    let target = env::current_exe().unwrap().ancestors().find(|path| path.ends_with("target")).unwrap().join("page");
    fs::create_dir_all(&target).unwrap();
    target.join(name)
}

/// The texts of a row's cells.
fn cells(browser: &mut Browser, row: u32) -> Vec<String> {
    let cells = format!("[...document.querySelectorAll('#row{row} > *')].map(cell => cell.textContent)");
    serde_json::from_value(browser.evaluate(&cells).unwrap()).unwrap()
}

#[tokio::test]
async fn an_operator_finds_from_the_page_who_holds_a_device() {
    if !available() {
        return;
    }
    let scene = scene(qats(3000), CONFIG).await;
    let pod = scene.admit("render").await;
    let device = pod.device_ids()[0].clone();
    let _own = scene.holder("qemu-kvm", Some(&pod), scene.node.group_of(&device).unwrap());
    let stranger = scene.holder("dpdk-testpmd", None, 2000);
    let address = format!("http://{}/", scene.address);
    // The browser is waited for on a thread of its own: the kubelet goes on meanwhile.
    spawn_blocking(move || look_around(&address, &device, stranger.pid())).await.unwrap();
}

fn look_around(address: &str, device: &str, stranger: u32) {
    let mut browser = Browser::open(address).unwrap();
    browser.resize(1280, 860, false).unwrap();

    // What is wrong stands first, whatever else there is.
    browser.wait_for("document.getElementById('count').textContent === '3000 devices'").unwrap();
    browser.wait_for("document.getElementById('row0')?.textContent.includes('dpdk-testpmd')").unwrap();
    let row = cells(&mut browser, 0);
    let holder = format!("{stranger} dpdk-testpmd (group)");
    let cell = |at: usize| row.get(at).map(String::as_str);
    assert_eq!([cell(2), cell(3), cell(5)], [Some("Unhealthy"), Some("Held"), Some(holder.as_str())], "{row:?}");
    let drawn = browser.evaluate("document.querySelectorAll('.row').length").unwrap();
    assert!(drawn.as_u64().unwrap() < 100, "only what is in sight is drawn: {drawn}");
    browser.picture(&picture("desktop.png")).unwrap();

    // By keyboard alone: filter, choose, read.
    browser.press("/").unwrap();
    browser.type_text("vms/render").unwrap();
    browser.wait_for("document.getElementById('count').textContent === '1 of 3000'").unwrap();
    browser.press("Enter").unwrap();
    browser.wait_for("document.querySelector('.row.chosen .pill.own') !== null").unwrap();
    let grounds = "['.row.chosen', '.row.chosen .pill'].map(one => getComputedStyle(document.querySelector(one)).backgroundColor)";
    for dark in [true, false] {
        browser.dark(dark).unwrap();
        browser.wait_for(&format!("new Set({grounds}).size === 2")).unwrap();
    }
    browser.picture(&picture("chosen.png")).unwrap();
    browser.press("Enter").unwrap();
    browser.wait_for("document.getElementById('detail').open").unwrap();
    let said = browser.evaluate("document.getElementById('detail').innerText").unwrap();
    for part in [device, "vms/render", "qemu-kvm", "of the pod that owns it", "vfiod explain"] {
        assert!(said.as_str().unwrap().contains(part), "{part}: {said}");
    }
    browser.picture(&picture("detail.png")).unwrap();
    browser.press("Escape").unwrap();
    browser.wait_for("!document.getElementById('detail').open").unwrap();
    browser.press("Escape").unwrap();
    browser.wait_for("document.getElementById('count').textContent === '3000 devices'").unwrap();

    // Dark, and on a phone: nothing is wider than the screen.
    browser.dark(true).unwrap();
    browser.picture(&picture("dark.png")).unwrap();
    browser.resize(390, 844, true).unwrap();
    browser.wait_for("document.documentElement.scrollWidth <= 390").unwrap();
    browser.wait_for("document.getElementById('row0')?.clientHeight > 60").unwrap();
    browser.picture(&picture("phone.png")).unwrap();
    browser.evaluate("document.getElementById('tools').scrollIntoView()").unwrap();
    browser.picture(&picture("phone-devices.png")).unwrap();
    assert_eq!(browser.complaints(), [] as [String; 0]);
}

#[tokio::test]
async fn the_page_updates_itself_and_finds_a_restarted_vfiod_again() {
    if !available() {
        return;
    }
    let Scene { node, folder, kubelet: _kubelet, agent, address } = scene(qats(2), CONFIG).await;
    spawn_blocking(move || follow(&node, folder.path(), agent, &address)).await.unwrap();
}

fn follow(node: &Node, folder: &Path, mut agent: Agent, address: &str) {
    let mut browser = Browser::open(&format!("http://{address}/")).unwrap();
    browser.wait_for("document.getElementById('count').textContent === '2 devices'").unwrap();
    browser.wait_for("document.getElementById('ready').textContent === 'ready'").unwrap();
    node.node_gone(100).unwrap();
    browser.wait_for("document.getElementById('row0').textContent.includes('NodeMissing')").unwrap();
    node.node_back(100).unwrap();
    browser.wait_for("!document.getElementById('space').textContent.includes('NodeMissing')").unwrap();

    agent.terminate().unwrap();
    browser.wait_for("document.getElementById('live').textContent.includes('not connected')").unwrap();
    let again = Agent::builder(node.root(), folder, CONFIG).flag("--listen", address).start().unwrap();
    browser.wait_for("document.getElementById('live').textContent === ''").unwrap();
    browser.wait_for("document.getElementById('ready').textContent === 'ready'").unwrap();
    assert_eq!(browser.complaints(), [] as [String; 0]);
    drop(again);
}
