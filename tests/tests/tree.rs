//! The shape of the sources: what may know what.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Who imports whom.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.extension() {
            _ if path.is_dir() => sources(&path),
            Some(extension) if extension == "rs" => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

/// A source without its comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The first names after each `crate::`, those in braces included.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (place, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                character if begins && !character.is_whitespace() => {
                    found.insert(name(&group[place..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// The name with which `text` begins.
fn name(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// The modules at the top of a crate, and which of them each one imports, its tests included.
fn modules(source: &Path) -> Graph {
    let mut graph = Graph::new();
    for path in sources(source) {
        let top = path.strip_prefix(source).unwrap().iter().next().unwrap();
        let module = Path::new(top).file_stem().unwrap().to_str().unwrap().to_owned();
        if module != "lib" && module != "main" {
            graph.entry(module).or_default().extend(imports(&code(&path)));
        }
    }
    let all: BTreeSet<String> = graph.keys().cloned().collect();
    for (module, imported) in &mut graph {
        imported.retain(|other| other != module && all.contains(other));
    }
    graph
}

/// A way from a module back to itself.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    fn follow(graph: &Graph, way: &mut Vec<String>) -> bool {
        let here = way.last().cloned().unwrap_or_default();
        for next in graph.get(&here).into_iter().flatten() {
            let closes = way.first() == Some(next);
            if !closes && way.contains(next) {
                continue;
            }
            way.push(next.clone());
            if closes || follow(graph, way) {
                return true;
            }
            way.pop();
        }
        false
    }
    graph.keys().find_map(|start| {
        let mut way = vec![start.clone()];
        follow(graph, &mut way).then_some(way)
    })
}

/// The packages of `Cargo.lock`, and what each one depends on, for its own tests or not.
fn packages() -> Graph {
    let lock = fs::read_to_string(repository().join("Cargo.lock")).unwrap();
    let mut graph = Graph::new();
    for package in lock.split("[[package]]").skip(1) {
        let quoted = |line: &str| line.split('"').nth(1).map(name_of_package);
        let name = package.lines().find(|line| line.starts_with("name = ")).and_then(quoted).unwrap();
        let (_, dependencies) = package.split_once("dependencies = [").unwrap_or_default();
        graph.entry(name).or_default().extend(dependencies.lines().filter_map(quoted));
    }
    graph
}

/// Without the version that tells apart two of one name.
fn name_of_package(entry: &str) -> String {
    entry.split(' ').next().unwrap_or_default().to_owned()
}

/// Everything that `package` depends on, however far.
fn below(graph: &Graph, package: &str) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![package.to_owned()]);
    while let Some(next) = open.pop() {
        for dependency in graph.get(&next).into_iter().flatten() {
            if found.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    found
}

#[test]
fn the_modules_of_the_agent_import_each_other_without_circles() {
    let graph = modules(&repository().join("agent/src"));
    assert!(graph["cli"].contains("reactor"), "imports are found: {graph:?}");
    assert_eq!(circle(&graph), None, "these modules import each other in a circle");
}

#[test]
fn so_do_the_modules_of_the_core() {
    let graph = modules(&repository().join("agent-core/src"));
    assert!(graph["inventory"].contains("device"), "imports are found: {graph:?}");
    assert_eq!(circle(&graph), None, "these modules import each other in a circle");
}

#[test]
fn the_core_knows_nothing_that_does_input_or_output() {
    let below = below(&packages(), "vfiod-core");
    assert!(below.contains("crossbeam-epoch"), "dependencies are followed: {below:?}");
    for forbidden in ["tokio", "tokio-uring", "tonic", "aya", "mio", "hyper"] {
        assert!(!below.contains(forbidden), "vfiod-core depends on {forbidden}");
    }
    for path in sources(&repository().join("agent-core/src")) {
        let code = code(&path);
        for forbidden in ["std::fs", "std::net", "std::os", "std::process", "fs::", "tokio", "tonic", "aya::"] {
            assert!(!code.contains(forbidden), "{} mentions {forbidden}", path.display());
        }
    }
}

#[test]
fn the_simulator_is_an_independent_judge() {
    let below = below(&packages(), "vfiod-simulator");
    assert!(below.contains("vfiod-proto"), "dependencies are followed: {below:?}");
    for forbidden in ["vfiod", "vfiod-core"] {
        assert!(!below.contains(forbidden), "the simulator depends on {forbidden}");
    }
}

#[test]
fn imports_are_found_alone_and_in_braces() {
    let code =
        "use crate::{\n    a::{b, c::{d, e}},\n    f,\n};\nuse crate::g::h;\nfn x() { crate::i::j(); xcrate::k() }\n";
    assert_eq!(imports(code).into_iter().collect::<Vec<_>>(), ["a", "f", "g", "i"]);
}

#[test]
fn a_circle_is_found_however_long() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    };
    assert_eq!(circle(&graph(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")])), None);
    let way = circle(&graph(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")])).unwrap();
    assert_eq!(way, ["b", "c", "d", "b"]);
}
