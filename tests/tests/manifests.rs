//! What `deploy/` asks of a cluster: rendered by kubectl, strict, least, and justified.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use vfiod::admin::metrics::{ALL, Kind};
use vfiod_tests::{
    agent::binary,
    manifests::{self, Object, asked, breaches, confinement, daemon_set, given, read},
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn overlays() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(repository().join("deploy/overlays"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.iter().any(|name| name == "file"), "{names:?}");
    names
}

/// An overlay, rendered; nothing where there is no kubectl and that is allowed.
fn rendered(overlay: &str) -> Option<Vec<Object>> {
    let yaml = match manifests::render(&repository().join("deploy/overlays").join(overlay)) {
        Ok(yaml) => yaml,
        Err(error) => {
            let text = format!("{error:#}");
            let is_missing = text.contains("cannot run kubectl") && env::var_os("VFIOD_NO_SKIP").is_none();
            assert!(is_missing, "{overlay}: {text}");
            eprintln!("SKIPPED: {text}; install kubernetes-client, or kubectl from elsewhere");
            return None;
        }
    };
    Some(read(&yaml).unwrap_or_else(|error| panic!("{overlay}: {error:#}")))
}

/// Every overlay that has a DaemonSet, with its objects.
fn with_daemon() -> Vec<(String, Vec<Object>)> {
    let all = overlays().into_iter().filter_map(|name| Some((name.clone(), rendered(&name)?)));
    all.filter(|(_, objects)| objects.iter().any(|object| object.kind == "DaemonSet")).collect()
}

#[test]
fn every_overlay_is_understood_to_its_last_field_and_keeps_the_rules() {
    for overlay in overlays() {
        let Some(objects) = rendered(&overlay) else { return };
        if objects.iter().any(|object| object.kind == "DaemonSet") {
            let daemon = daemon_set(&objects).unwrap();
            assert_eq!(breaches(&daemon), [""; 0], "{overlay}");
        }
    }
}

#[test]
fn whatever_is_given_to_vfiod_is_justified_in_the_threat_model() {
    let model = fs::read_to_string(repository().join("docs/THREAT-MODEL.md")).unwrap();
    for (overlay, objects) in with_daemon() {
        for one in given(&daemon_set(&objects).unwrap()) {
            let row = format!("| `{one}` |");
            assert!(
                model.lines().any(|line| line.starts_with(&row)),
                "{overlay}: no row {row:?} in docs/THREAT-MODEL.md"
            );
        }
    }
}

#[test]
fn without_the_api_there_is_no_token_and_no_right() {
    for overlay in ["file", "minimal"] {
        let Some(objects) = rendered(overlay) else { return };
        let pod = daemon_set(&objects).unwrap().spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.automount_service_account_token, Some(false), "{overlay}");
        assert!(!objects.iter().any(|object| object.kind.contains("Role")), "{overlay}");
    }
}

#[test]
fn the_minimal_overlay_has_no_capability_and_none_of_the_hosts_namespaces() {
    let Some(objects) = rendered("minimal") else { return };
    let given = given(&daemon_set(&objects).unwrap());
    assert!(given.iter().all(|one| one.starts_with('/')), "{given:?}");
}

#[test]
fn the_minimal_overlay_asks_for_less_than_the_one_it_is_made_of() {
    let (Some(minimal), Some(file)) = (rendered("minimal"), rendered("file")) else { return };
    let (minimal, file) = (daemon_set(&minimal).unwrap(), daemon_set(&file).unwrap());
    let (less, more) = (given(&minimal), given(&file));
    assert!(less.iter().all(|one| more.contains(one)), "{less:?} {more:?}");
    assert!(more.iter().any(|one| !less.contains(one)), "{less:?}");
    // `spc_t` is no confinement at all.
    let is_unconfined = |daemon| confinement(daemon).iter().any(|one| one.selinux.as_deref() == Some("spc_t"));
    assert!(is_unconfined(&file) && !is_unconfined(&minimal));
}

/// The rows of the threat model's table of SELinux and AppArmor: overlays, SELinux type, AppArmor profile.
fn confinement_rows() -> Vec<[String; 3]> {
    let model = fs::read_to_string(repository().join("docs/THREAT-MODEL.md")).unwrap();
    let section = model.split("## SELinux and AppArmor").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    cells.map(|cells| cells.get(1..4).unwrap().to_vec().try_into().unwrap()).collect()
}

#[test]
fn selinux_and_apparmor_are_as_the_threat_model_says_of_each_overlay() {
    let rows = confinement_rows();
    for (overlay, objects) in with_daemon() {
        let of_overlay =
            rows.iter().filter(|[overlays, ..]| overlays.split(", ").any(|one| one == format!("`{overlay}`")));
        let [[_, selinux, apparmor]] = of_overlay.collect::<Vec<_>>()[..] else {
            panic!("docs/THREAT-MODEL.md has not one row of SELinux and AppArmor for {overlay}: {rows:?}")
        };
        for one in confinement(&daemon_set(&objects).unwrap()) {
            let told = one.selinux.map_or_else(|| "the runtime's".to_owned(), |kind| format!("`{kind}`"));
            assert_eq!(told, *selinux, "{overlay}: {}", one.container);
            let told = one.apparmor.map_or_else(|| "the runtime's".to_owned(), |profile| format!("`{profile}`"));
            assert_eq!(told, *apparmor, "{overlay}: {}", one.container);
        }
    }
}

#[test]
fn the_configurations_in_the_overlays_are_accepted() {
    for (overlay, objects) in with_daemon() {
        for object in objects.iter().filter(|object| object.kind == "ConfigMap") {
            let text = object.value.pointer("/data/config.yaml").and_then(serde_json::Value::as_str);
            let text = text.unwrap_or_else(|| panic!("{overlay}: {} holds no config.yaml", object.name));
            // Beside a KubeVirt CR the file holds settings alone, which by itself would be too little.
            let is_watched = objects.iter().any(|object| object.value.to_string().contains("VFIOD_KUBEVIRT"));
            let permits = if is_watched { "permittedHostDevices: {}\n" } else { "" };
            let text = format!("{text}{permits}");
            let mut check = Command::new(binary())
                .args(["check", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            let output = check.wait_with_output().unwrap();
            assert!(output.status.success(), "{overlay}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn every_option_of_the_containers_is_one_that_vfiod_has() {
    for (overlay, objects) in with_daemon() {
        let pod = daemon_set(&objects).unwrap().spec.unwrap().template.spec.unwrap();
        for container in pod.init_containers.iter().flatten().chain(&pod.containers) {
            let args = container.args.clone().unwrap_or_default();
            let (command, options) = args.split_first().unwrap();
            let help = Command::new(binary()).args([command, "--help"]).output().unwrap();
            assert!(help.status.success(), "{overlay}: vfiod has no {command}");
            let help = String::from_utf8_lossy(&help.stdout).into_owned();
            for option in options.iter().filter(|option| option.starts_with("--")) {
                let name = option.split('=').next().unwrap();
                assert!(help.split_whitespace().any(|word| word == name), "{overlay}: {command} has no {name}");
            }
            for variable in container.env.iter().flatten().filter(|one| one.name.starts_with("VFIOD_")) {
                assert!(
                    help.contains(&format!("{}=", variable.name)),
                    "{overlay}: {command} reads no {}",
                    variable.name
                );
            }
        }
    }
}

/// The samples of all metrics, each with its labels.
fn samples() -> Vec<(String, Vec<&'static str>)> {
    let with = |name: String, labels: &[&'static str]| (name, labels.to_vec());
    ALL.iter()
        .flat_map(|definition| match definition.kind {
            Kind::Histogram => ["bucket", "sum", "count"]
                .map(|part| with(format!("{}_{part}", definition.sample()), definition.labels))
                .to_vec(),
            _ => vec![with(definition.sample(), definition.labels)],
        })
        .collect()
}

#[test]
fn alerts_and_the_dashboard_name_only_metrics_and_labels_that_there_are() {
    let folder = repository().join("deploy/overlays/monitoring");
    let (rules, dashboard) =
        ["rules.yaml", "vfiod.json"].map(|name| fs::read_to_string(folder.join(name)).unwrap()).into();
    let board: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    // In JSON every quote in a query is escaped.
    let queries: Vec<String> = board["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    assert!(queries.len() > 10);
    let samples = samples();
    for one in asked(&(rules + &queries.join("\n"))) {
        let sample = samples.iter().find(|(name, _)| *name == one.metric);
        let (_, labels) = sample.unwrap_or_else(|| panic!("there is no metric {}", one.metric));
        for label in &one.labels {
            // `node` is what the PodMonitor adds.
            assert!(label == "node" || labels.contains(&label.as_str()), "{} has no label {label}", one.metric);
        }
    }
}
