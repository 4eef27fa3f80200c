//! Kubernetes' own programs, built from Debian's source.
//!
//! Debian 12 is the last release whose source package has all of Kubernetes in it, its dependencies included; the newer
//! ones are cut down to kubectl. It is a 1.20, from before the plugin interfaces that newer kubelets have changed.

use crate::{
    process,
    vm::{apt::Apt, cache::Cache},
};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The release that has the source, a Go that builds it, and the package that mends it.
const SUITE: &str = "bookworm";
/// What is built.
pub(super) const PROGRAMS: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"];
/// What is said by `--version`, and told to clients: the source has it from a git tag that a tarball lacks.
const VERSION: (&str, &str, &str) = ("1", "20", "v1.20.2");
const MODULE: &str = "k8s.io/kubernetes";

/// The folder with the programs: from the cache, or built now.
///
/// # Errors
/// What apt, Go and the file system say.
pub(super) fn find_or_build(refresh: bool) -> Result<PathBuf> {
    let cache = Cache::open()?;
    let place = format!("kubernetes-{}", VERSION.2);
    let cached = cache.folder(&place);
    if !refresh && PROGRAMS.iter().all(|program| cached.join(program).is_file()) {
        return Ok(cached);
    }
    eprintln!("cluster: building Kubernetes {}; that takes about ten minutes on two processors", VERSION.2);
    let apt = Apt::of_suite_with_sources(SUITE, &cache.folder("apt-sources"))?;
    cache.create(&place, |folder| build(&apt, folder)).context("Kubernetes cannot be built from Debian's source")
}

fn build(apt: &Apt, folder: &Path) -> Result<()> {
    let scratch = folder.join("build");
    let tools = scratch.join("tools");
    fs::create_dir_all(&tools)?;
    let packages = ["golang-1.19-go", "golang-1.19-src", REFLECT];
    apt.unpack(&packages.map(str::to_owned), &tools)?;
    // Go finds the source by its place: GOPATH/src/MODULE.
    let source = scratch.join("src").join(MODULE);
    let archive = apt.source("kubernetes", &scratch)?;
    fs::create_dir_all(&source)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--strip-components=1", "--no-same-owner", "--file"]).arg(archive);
    process::output(tar.arg("--directory").arg(&source))?;
    mend(&tools, &source)?;

    let go = Go { root: tools.join("usr/lib/go-1.19"), path: scratch.clone(), source };
    go.generate_schema(&scratch.join("openapi-gen"))?;
    for program in PROGRAMS {
        eprintln!("cluster: … {program}");
        go.build(&format!("{MODULE}/cmd/{program}"), &folder.join(program))?;
    }
    Ok(fs::remove_dir_all(&scratch)?)
}

/// It reads Go's own maps, whose layout changed in Go 1.18: the API server dies of the older one that Kubernetes brings.
const REFLECT: &str = "golang-github-modern-go-reflect2-dev";

fn mend(tools: &Path, source: &Path) -> Result<()> {
    let vendored = source.join("vendor/github.com/modern-go/reflect2");
    let newer = tools.join("usr/share/gocode/src/github.com/modern-go/reflect2");
    fs::remove_dir_all(&vendored).with_context(|| format!("cannot replace {}", vendored.display()))?;
    process::output(Command::new("cp").arg("--recursive").arg(newer).arg(vendored)).map(drop)
}

/// A Go that builds what is in one folder, and asks nobody.
struct Go {
    root: PathBuf,
    path: PathBuf,
    source: PathBuf,
}

impl Go {
    fn build(&self, package: &str, into: &Path) -> Result<()> {
        let mut command = Command::new(self.root.join("bin/go"));
        command.args(["build", "-ldflags", &version()]).arg("-o").arg(into).arg(package).current_dir(&self.source);
        command.env("GOROOT", &self.root).env("GOPATH", &self.path).env("GOCACHE", self.path.join("cache"));
        command.env("GO111MODULE", "off").env("GOFLAGS", "").env("GOPROXY", "off").env("CGO_ENABLED", "0");
        process::output(&mut command).map(drop)
    }

    /// The schema of the API: a file that is made of the sources, and that the tarball lacks.
    fn generate_schema(&self, generator: &Path) -> Result<()> {
        self.build(&format!("{MODULE}/vendor/k8s.io/kube-openapi/cmd/openapi-gen"), generator)?;
        let mut find = Command::new("grep");
        find.args(["-rlE", "--include=*.go", r"^// *\+k8s:openapi-gen=true", "pkg", "staging/src"]);
        let tagged = process::text(find.current_dir(&self.source))?;
        let packages: BTreeSet<String> = tagged.lines().filter_map(package).collect();
        if packages.is_empty() {
            bail!("no package in {} asks for a schema", self.source.display());
        }
        let mut generate = Command::new(generator);
        generate.arg("-i").arg(packages.into_iter().collect::<Vec<_>>().join(","));
        generate.args(["-p", &format!("{MODULE}/pkg/generated/openapi"), "-O", "zz_generated.openapi"]);
        generate.args(["-h", "hack/boilerplate/boilerplate.generatego.txt", "-r", "/dev/null"]);
        generate.current_dir(&self.source).env("GOROOT", &self.root).env("GOPATH", &self.path);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.root.join("bin")).chain(std::env::split_paths(&path));
        generate.env("GO111MODULE", "off").env("PATH", std::env::join_paths(path)?);
        process::output(&mut generate).map(drop)
    }
}

/// The package of a file in the source, if it belongs to the API server.
fn package(file: &str) -> Option<String> {
    let (folder, name) = file.rsplit_once('/')?;
    let foreign = ["/code-generator/", "/sample-apiserver/", "/sample-controller/", "/test/", "/testdata/"];
    if name.starts_with("zz_generated") || foreign.iter().any(|part| file.contains(part)) {
        return None;
    }
    Some(match folder.strip_prefix("staging/src/") {
        Some(staged) => format!("{MODULE}/vendor/{staged}"),
        None => format!("{MODULE}/{folder}"),
    })
}

/// What the linker writes into the programs.
fn version() -> String {
    let (major, minor, whole) = VERSION;
    let of = |package: &str| {
        let place = format!("{MODULE}/vendor/k8s.io/{package}");
        [("gitVersion", whole), ("gitMajor", major), ("gitMinor", minor), ("gitTreeState", "archive")]
            .map(|(name, value)| format!(" -X {place}.{name}={value}"))
            .concat()
    };
    format!("-s -w{}{}", of("component-base/version"), of("client-go/pkg/version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_api_names_its_package() {
        let staged = package("staging/src/k8s.io/api/core/v1/doc.go");
        assert_eq!(staged.as_deref(), Some("k8s.io/kubernetes/vendor/k8s.io/api/core/v1"));
        assert_eq!(package("pkg/apis/abac/v0/doc.go").as_deref(), Some("k8s.io/kubernetes/pkg/apis/abac/v0"));
        for foreign in ["staging/src/k8s.io/sample-apiserver/doc.go", "pkg/a/zz_generated.deepcopy.go", "doc.go"] {
            assert_eq!(package(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn the_programs_say_of_which_version_they_are() {
        let flags = version();
        assert!(
            flags.contains(" -X k8s.io/kubernetes/vendor/k8s.io/component-base/version.gitVersion=v1.20.2 "),
            "{flags}"
        );
    }
}
