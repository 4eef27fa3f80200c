//! Metrics, readiness, and who is answered.

use crate::scene::{CONFIG, QAT, Scene, address, eventually, qats, scene};
use serde_json::Value;
use std::{fs, net::TcpListener, time::Duration};
use tempfile::TempDir;
use vfiod_tests::{Agent, web};

#[tokio::test]
async fn one_metric_says_which_process_holds_a_device_and_whether_it_should() {
    let scene = scene(qats(2), CONFIG).await;
    let pod = scene.admit("render").await;
    let device = pod.device_ids()[0].clone();
    let group = scene.node.group_of(&device).unwrap();
    let own = scene.holder("qemu-kvm", Some(&pod), group);
    let stranger = scene.holder("dpdk-testpmd", None, if group == 100 { 101 } else { 100 });
    eventually("both holders", || {
        let metrics = scene.body("/metrics");
        let holder = |device: &str, pid: u32, relation: &str| {
            let pid = format!("pid=\"{pid}\"");
            let relation = format!("relation=\"{relation}\"");
            metrics.lines().any(|line| {
                line.starts_with("vfiod_device_holder_info{")
                    && [device, &pid, &relation].iter().all(|part| line.contains(*part))
            })
        };
        holder(&format!("device=\"{device}\""), own.pid(), "own")
            && holder("command=\"dpdk-testpmd\"", stranger.pid(), "foreign")
    })
    .await;
    scene.wait_for_metric("vfiod_devices{resource=\"intel.com/qat\",health=\"Unhealthy\",reason=\"Held\"} 1").await;
    scene.wait_for_metric("vfiod_devices{resource=\"intel.com/qat\",health=\"Healthy\",reason=\"Owned\"} 1").await;
}

#[tokio::test]
async fn calls_of_the_kubelet_are_counted_and_timed() {
    let scene = scene(qats(2), CONFIG).await;
    scene.admit("a").await;
    for counted in [
        "vfiod_allocations_total{resource=\"intel.com/qat\"} 1",
        "vfiod_allocated_devices_total{resource=\"intel.com/qat\"} 1",
        "vfiod_registrations_total{resource=\"intel.com/qat\"} 1",
        "vfiod_registered{resource=\"intel.com/qat\"} 1",
        "vfiod_list_streams{resource=\"intel.com/qat\"} 1",
        "vfiod_allocate_duration_seconds_count 1",
        "vfiod_allocate_duration_seconds_bucket{le=\"+Inf\"} 1",
        "vfiod_kubelet_up 1",
        "vfiod_ready 1",
    ] {
        scene.wait_for_metric(counted).await;
    }
    scene.node.node_gone(100).unwrap();
    scene
        .wait_for_metric("vfiod_devices{resource=\"intel.com/qat\",health=\"Unhealthy\",reason=\"NodeMissing\"} 1")
        .await;
    eventually("the event in its histogram", || {
        scene
            .body("/metrics")
            .lines()
            .any(|line| line.strip_prefix("vfiod_event_to_stream_seconds_count ").is_some_and(|count| count != "0"))
    })
    .await;
    assert!(scene.body("/metrics").ends_with("# EOF\n"));
}

#[tokio::test]
async fn readiness_names_what_fails_and_why() {
    let mut scene = scene(qats(1), CONFIG).await;
    eventually("readiness", || web::get(&scene.address, "/readyz").unwrap().status == 200).await;
    assert_eq!(scene.body("/healthz"), "ok\n");
    scene.agent.configure("permittedHostDevices: [").unwrap();
    eventually("the rejected configuration", || scene.body("/readyz").contains("degraded configuration: ")).await;
    scene.wait_for_metric("vfiod_configuration{source=\"file\",state=\"kept\"} 1").await;
    scene.wait_for_metric("vfiod_reloads_total{result=\"failed\"} 1").await;
    let answer = web::get(&scene.address, "/readyz").unwrap();
    assert_eq!(answer.status, 200, "the last good one is served: {}", answer.body);
    scene.kubelet.stop().await;
    fs::remove_file(scene.folder.path().join("device-plugins/kubelet.sock")).unwrap_or_default();
    eventually("the missing kubelet", || {
        let answer = web::get(&scene.address, "/readyz").unwrap();
        answer.status == 503 && answer.body.starts_with("not ready\nfailing  kubelet: ")
    })
    .await;
    assert!(scene.agent.is_running().unwrap());
}

#[tokio::test]
async fn the_status_is_one_document() {
    let scene = scene(qats(3), CONFIG).await;
    let status: Value = serde_json::from_str(&scene.body("/status")).unwrap();
    assert_eq!((&status["apiVersion"], &status["kind"]), (&"vfiod.dev/v1".into(), &"NodeStatus".into()));
    assert_eq!(status["devices"].as_array().unwrap().len(), 3);
    assert_eq!(status["devices"][0]["health"], "Healthy");
    assert_eq!(status["summary"]["resources"][0]["name"], QAT);
}

#[tokio::test]
async fn a_name_of_another_site_is_not_answered_and_nothing_but_reading_is() {
    let scene = scene(qats(1), CONFIG).await;
    let Scene { address, .. } = &scene;
    for path in ["/", "/status", "/events", "/metrics", "/readyz"] {
        assert_eq!(web::get_as("rebound.example:9420", address, path).unwrap().status, 421, "{path}");
    }
    assert_eq!(web::get_as("localhost:8080", address, "/healthz").unwrap().status, 200, "as kubectl port-forward asks");
    let post = format!("POST /status HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(web::request(address, &post).unwrap().status, 405);
    assert_eq!(web::get(address, "/../etc/passwd").unwrap().status, 404);
    let page = web::get(address, "/").unwrap();
    for header in
        ["content-security-policy: default-src 'none'", "x-frame-options: deny", "x-content-type-options: nosniff"]
    {
        assert!(page.head.contains(header), "{header}: {}", page.head);
    }
    assert!(!page.head.contains("access-control"), "{}", page.head);
}

#[tokio::test]
async fn the_address_for_the_cluster_shows_no_page() {
    let (node, folder) = (qats(1).build().unwrap(), TempDir::new().unwrap());
    let agent = Agent::builder(node.root(), folder.path(), CONFIG).flag("--metrics", "127.0.0.1:0").start().unwrap();
    let address = address(&agent, "metrics and readiness are on http://");
    for (path, status) in [("/metrics", 200), ("/healthz", 200), ("/", 404), ("/status", 404), ("/events", 404)] {
        assert_eq!(web::get_as("vfiod.node.example", &address, path).unwrap().status, status, "{path}");
    }
    assert!(web::get(&address, "/readyz").unwrap().body.contains("no kubelet listens on"));
}

#[tokio::test]
async fn a_taken_address_is_told_and_taken_over_while_devices_are_served() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (node, folder) = (qats(1).build().unwrap(), TempDir::new().unwrap());
    let agent = Agent::builder(node.root(), folder.path(), CONFIG)
        .flag("--listen", &address)
        .flag("--metrics", "127.0.0.1:0")
        .start()
        .unwrap();
    agent.wait_for_log(&format!("cannot listen on {address}")).unwrap();
    let metrics = self::address(&agent, "metrics and readiness are on http://");
    let readiness = web::get(&metrics, "/readyz").unwrap().body;
    assert!(readiness.contains(&format!("degraded page: cannot listen on {address}")), "{readiness}");
    drop(taken);
    eventually("the page", || web::get(&address, "/healthz").is_ok_and(|answer| answer.status == 200)).await;
}

#[tokio::test]
async fn who_asks_slowly_or_nonsense_keeps_nobody_else_from_asking() {
    let scene = scene(qats(1), CONFIG).await;
    let silent: Vec<_> = (0..30).map(|_| std::net::TcpStream::connect(&scene.address).unwrap()).collect();
    let nonsense = web::request(&scene.address, "\u{16}\u{3}\u{1} this is no HTTP\r\n\r\n");
    assert!(nonsense.is_err() || nonsense.unwrap().status == 400);
    assert_eq!(scene.body("/healthz"), "ok\n");
    drop(silent);
    let mut agent = scene.agent;
    let _open = std::net::TcpStream::connect(&scene.address).unwrap();
    let begun = std::time::Instant::now();
    assert!(agent.terminate().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(15), "an open connection does not hold up the end");
}
