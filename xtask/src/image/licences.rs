//! What the program is made of, and under which terms: `THIRD-PARTY.txt` of the image.

use crate::{process, workspace};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use sha2::{Digest, Sha256};
use spdx::Expression;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// The texts that go into the image.
#[derive(Debug)]
pub(super) struct Licences {
    /// vfiod's own.
    pub(super) own: String,
    /// That of the kernel probe, which the program carries.
    pub(super) probe: String,
    /// Everybody else's.
    pub(super) third_party: String,
}

/// Terms under which a dependency may be shipped in the image.
const ACCEPTED: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// A crate that is linked into the program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Linked {
    name: String,
    version: String,
    terms: String,
    folder: PathBuf,
}

/// Collects the terms of everything that is linked into vfiod.
///
/// # Errors
/// When a crate's terms are missing, or not among [`ACCEPTED`].
pub(super) fn collect() -> Result<Licences> {
    let root = workspace::root();
    let read = |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"));
    let mut cargo = workspace::cargo();
    cargo.args(["metadata", "--format-version=1", "--locked", "--filter-platform"]);
    cargo.arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    let metadata: Value = serde_json::from_slice(&process::output(&mut cargo)?).context("cargo metadata is no JSON")?;
    let linked = linked(&metadata, "vfiod")?;
    for one in &linked {
        if !is_acceptable(&one.terms)? {
            bail!("{} {} comes under {:?}, which is not accepted for the image", one.name, one.version, one.terms);
        }
    }
    Ok(Licences { own: read("LICENSE")?, probe: read("agent-ebpf/LICENSE-MIT")?, third_party: third_party(&linked)? })
}

fn is_acceptable(terms: &str) -> Result<bool> {
    // `MIT/Apache-2.0` is how it was written before SPDX.
    let expression = Expression::parse_mode(terms, spdx::ParseMode::LAX)
        .map_err(|error| anyhow::anyhow!("{terms:?} is no SPDX expression: {error}"))?;
    Ok(expression.evaluate(|wanted| wanted.license.id().is_some_and(|id| ACCEPTED.contains(&id.name))))
}

/// Every crate from elsewhere that `package` is built with; those that only run while it is built are left out.
fn linked(metadata: &Value, package: &str) -> Result<BTreeSet<Linked>> {
    let list = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_array).cloned();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let packages: BTreeMap<String, Value> = list(metadata, "/packages")
        .context("cargo metadata names no packages")?
        .into_iter()
        .filter_map(|one| Some((text(&one, "id")?, one)))
        .collect();
    let nodes: BTreeMap<String, Value> = list(metadata, "/resolve/nodes")
        .context("cargo metadata resolves nothing")?
        .into_iter()
        .filter_map(|one| Some((text(&one, "id")?, one)))
        .collect();
    let first = packages.iter().find(|(_, one)| text(one, "name").as_deref() == Some(package));
    let mut to_visit = vec![first.map(|(id, _)| id.clone()).with_context(|| format!("there is no package {package}"))?];
    let (mut visited, mut found) = (BTreeSet::new(), BTreeSet::new());
    while let Some(id) = to_visit.pop() {
        if !visited.insert(id.clone()) {
            continue;
        }
        let one = packages.get(&id).with_context(|| format!("cargo metadata does not describe {id}"))?;
        let targets = list(one, "/targets").unwrap_or_default();
        let kinds = targets.iter().flat_map(|target| list(target, "/kind").unwrap_or_default());
        if kinds.into_iter().any(|kind| kind == "proc-macro") {
            continue;
        }
        let name = text(one, "name").unwrap_or_default();
        if text(one, "source").is_some() {
            let version = text(one, "version").unwrap_or_default();
            let terms = text(one, "license").with_context(|| format!("{name} {version} names no licence"))?;
            let manifest = PathBuf::from(text(one, "manifest_path").unwrap_or_default());
            let folder = manifest.parent().map(Path::to_path_buf).unwrap_or_default();
            found.insert(Linked { name, version, terms, folder });
        }
        for dependency in nodes.get(&id).and_then(|node| list(node, "/deps")).unwrap_or_default() {
            let kinds = list(&dependency, "/dep_kinds").unwrap_or_default();
            if kinds.iter().any(|kind| kind.get("kind").is_some_and(Value::is_null)) {
                to_visit.extend(text(&dependency, "pkg"));
            }
        }
    }
    Ok(found)
}

/// The licences of what the compiler and the C library's package bring along.
const TOOLCHAIN: [(&str, &str, &str); 3] = [
    ("the Rust standard library", "MIT OR Apache-2.0", "https://github.com/rust-lang/rust"),
    (
        "the GNU C Library, linked statically; vfiod's own sources and `cargo xtask image` link it anew with a changed one",
        "LGPL-2.1-or-later",
        "https://sourceware.org/glibc",
    ),
    ("the runtime library of GCC (unwinding)", "GPL-3.0-or-later WITH GCC-exception-3.1", "https://gcc.gnu.org"),
];

/// The standard texts of [`TOOLCHAIN`] that no crate brings.
const STANDARD: [&str; 2] = ["LGPL-2.1-or-later", "GPL-3.0-or-later"];

fn third_party(linked: &BTreeSet<Linked>) -> Result<String> {
    let mut out = String::from("What the program vfiod is made of besides its own sources, and under which terms.\n\n");
    for (what, terms, source) in TOOLCHAIN {
        writeln!(out, "{what}: {terms}\n    {source}")?;
    }
    writeln!(out)?;
    // Most crates bring the same few texts: each is printed once, with those who bring it.
    let mut texts: BTreeMap<[u8; 32], (String, BTreeSet<String>)> = BTreeMap::new();
    let mut add = |text: String, who: String| {
        let key = Sha256::digest(text.split_whitespace().collect::<Vec<_>>().join(" ")).into();
        texts.entry(key).or_insert_with(|| (text, BTreeSet::new())).1.insert(who);
    };
    for one in linked {
        let who = format!("{} {}", one.name, one.version);
        writeln!(out, "{who}: {}\n    https://crates.io/crates/{}", one.terms, one.name)?;
        let own = texts_in(&one.folder)?;
        if own.is_empty() {
            for (name, text) in standard_texts(&one.terms)? {
                add(text.to_owned(), format!("{who} (which names {name} and brings no text)"));
            }
        }
        own.into_iter().for_each(|text| add(text, who.clone()));
    }
    for name in STANDARD {
        let id = spdx::license_id(name).with_context(|| format!("{name} is no SPDX licence"))?;
        add(id.text().to_owned(), name.to_owned());
    }
    let exception = spdx::exception_id("GCC-exception-3.1").context("the GCC exception has no text")?;
    add(exception.text().to_owned(), "GCC-exception-3.1".to_owned());
    // By the first who brings it, so that a crate that comes or goes changes little.
    let mut texts: Vec<_> = texts.into_values().collect();
    texts.sort_by(|(_, one), (_, other)| one.cmp(other));
    for (text, who) in texts {
        let who: Vec<String> = who.into_iter().collect();
        write!(out, "\n{}\n{}\n\n{}\n", "=".repeat(80), who.join(", "), text.trim())?;
    }
    Ok(out)
}

/// The files of a crate that are about its terms.
fn texts_in(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let about = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
        if about.iter().any(|start| name.starts_with(start)) && entry.file_type()?.is_file() {
            names.push(entry.path());
        }
    }
    names.sort();
    names.iter().map(|path| Ok(String::from_utf8_lossy(&fs::read(path)?).replace("\r\n", "\n"))).collect()
}

/// The standard texts of the accepted licences that an expression names.
fn standard_texts(terms: &str) -> Result<Vec<(&'static str, &'static str)>> {
    let expression = Expression::parse_mode(terms, spdx::ParseMode::LAX)
        .map_err(|error| anyhow::anyhow!("{terms:?} is no SPDX expression: {error}"))?;
    let ids = expression.requirements().filter_map(|wanted| wanted.req.license.id());
    Ok(ids.filter(|id| ACCEPTED.contains(&id.name)).map(|id| (id.name, id.text())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn terms_are_accepted_when_one_choice_is() {
        for fine in ["MIT", "MIT/Apache-2.0", "GPL-2.0-only OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert!(is_acceptable(fine).unwrap(), "{fine}");
        }
        for not in ["GPL-3.0-only", "MIT AND LGPL-2.1-only", "MPL-2.0"] {
            assert!(!is_acceptable(not).unwrap(), "{not}");
        }
        assert!(is_acceptable("ask me").is_err());
    }

    #[test]
    fn what_only_builds_or_only_tests_is_not_linked() {
        let package = |name: &str, kind: &str| {
            json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT", "source": "registry",
                   "manifest_path": format!("/crates/{name}/Cargo.toml"), "targets": [{"kind": [kind]}]})
        };
        let needs = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [package("top", "bin"), package("used", "lib"), package("deep", "lib"), package("macro", "proc-macro"),
                         package("build", "lib"), package("test", "lib"), package("unrelated", "lib")],
            "resolve": {"nodes": [
                {"id": "top", "deps": [needs("used", Value::Null), needs("macro", Value::Null),
                                       needs("build", json!("build")), needs("test", json!("dev"))]},
                {"id": "used", "deps": [needs("deep", Value::Null)]},
            ]},
        });
        let names: Vec<String> = linked(&metadata, "top").unwrap().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["deep", "top", "used"]);
    }

    #[test]
    fn every_crate_of_this_workspace_may_be_shipped_and_is_named() {
        let licences = collect().unwrap();
        for one in ["\ntokio 1.", "\ntonic 0.", "GNU LESSER GENERAL PUBLIC LICENSE", "the Rust standard library"] {
            assert!(licences.third_party.contains(one), "{one:?} is missing");
        }
        assert!(!licences.third_party.contains("/root/") && !licences.third_party.contains("registry/src"));
        assert_eq!(collect().unwrap().third_party, licences.third_party);
    }
}
