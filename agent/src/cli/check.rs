//! `vfiod check`: validates a configuration, and shows what it means.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};
use vfiod_core::{
    permit::{self, DOCUMENT_MAX, Finding, Parsed, Resource, ServeMode, Settings},
    variables::Carried,
};

/// Exit code of a configuration with a problem.
const BAD_CONFIGURATION: u8 = 3;
/// Exit code of a file that cannot be read.
const UNREADABLE: u8 = 1;

/// Validate a configuration: what it permits goes to stdout, what is wrong with it to stderr.
///
/// Exit codes: 0 good, 1 the file cannot be read, 2 wrong usage, 3 something in it is rejected.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// KubeVirt CR, snippet of one, or vfiod's own configuration, as YAML or JSON; - reads stdin.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What vfiod shall serve: auto (of a KubeVirt CR the entries marked externalResourceProvider, else all), external
    /// (only marked entries) or all.
    #[arg(long, env = "VFIOD_SERVE", value_name = "MODE", default_value_t = ServeMode::Auto)]
    pub serve: ServeMode,
}

/// Runs the subcommand.
#[must_use]
pub fn run(args: &CheckArgs) -> ExitCode {
    let name = if is_stdin(&args.file) { "<stdin>".to_owned() } else { args.file.display().to_string() };
    let bytes = match read(&args.file) {
        Ok(bytes) => bytes,
        Err(error) => {
            let hint = "give the path of a readable file, or - for stdin";
            _ = writeln!(io::stderr(), "{name}: cannot be read: {error}; {hint}");
            return ExitCode::from(UNREADABLE);
        }
    };
    let report = check(&bytes, &name, args.serve);
    // A reader that went away (`| head`) is no failure of the check.
    _ = io::stderr().write_all(report.diagnostics.as_bytes());
    _ = io::stdout().write_all(report.summary.as_bytes());
    if report.good { ExitCode::SUCCESS } else { ExitCode::from(BAD_CONFIGURATION) }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Reads at most a little more than is accepted, so that an endless file ends.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = DOCUMENT_MAX as u64 + 1;
    if is_stdin(file) {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// What a check prints.
#[derive(Debug, Default)]
struct Report {
    summary: String,
    diagnostics: String,
    good: bool,
}

fn check(bytes: &[u8], name: &str, serve: ServeMode) -> Report {
    let mut report = Report::default();
    let lossy = String::from_utf8_lossy(bytes);
    let parsed = permit::decode(bytes).and_then(|text| permit::parse(text, serve));
    match parsed {
        Ok(parsed) => {
            for problem in &parsed.problems {
                report.diagnose(name, "", problem, &lossy);
            }
            for notice in &parsed.notices {
                report.diagnose(name, "notice: ", notice, &lossy);
            }
            report.good = parsed.problems.is_empty();
            report.summary = summary(&parsed, name, serve);
            report.conclude(name, &parsed);
        }
        Err(problem) => {
            report.diagnose(name, "", &problem, &lossy);
            _ = writeln!(
                report.diagnostics,
                "{name}: rejected as a whole: vfiod would not start with it, and a running vfiod keeps what it has"
            );
        }
    }
    report
}

impl Report {
    fn diagnose(&mut self, name: &str, severity: &str, finding: &Finding, document: &str) {
        _ = writeln!(self.diagnostics, "{name}:{}: {severity}{}", finding.at, finding.message());
        let excerpt = finding.excerpt(document);
        if !excerpt.is_empty() {
            _ = writeln!(self.diagnostics, "{excerpt}");
        }
    }

    fn conclude(&mut self, name: &str, parsed: &Parsed) {
        let problems = match parsed.problems.len() {
            0 => return,
            1 => "1 problem".to_owned(),
            n => format!("{n} problems"),
        };
        let effect = if parsed.clone().at_start().is_err() {
            "vfiod would not start with it; a running vfiod keeps the last good value of each bad setting and entry"
        } else {
            "vfiod would start without the bad entries; a running vfiod keeps their last good definition"
        };
        _ = writeln!(self.diagnostics, "{name}: {problems}: {effect}");
    }
}

fn summary(parsed: &Parsed, name: &str, serve: ServeMode) -> String {
    let permit = &parsed.permit;
    let mut out = String::new();
    let (permitted, served) = (permit.resources().len(), permit.served().count());
    _ = writeln!(out, "{name}: {permitted} permitted, {served} served (--serve {serve})");
    for resource in permit.resources() {
        _ = writeln!(out, "\n{}: {}", resource.name, resource.serving);
        describe(&mut out, resource, permit.settings());
    }
    let Settings { env_names, allow_no_iommu, release_wait } = permit.settings();
    let wait = humantime::format_duration(*release_wait);
    _ = writeln!(out, "\nsettings: envNames {env_names}, allowNoIommu {allow_no_iommu}, preStart.releaseWait {wait}");
    out
}

fn describe(out: &mut String, resource: &Resource, settings: &Settings) {
    for origin in &resource.origins {
        _ = writeln!(out, "  selects  {}  ({}, line {})", origin.selector(), origin.field, origin.at.line);
    }
    let kinds = [(Carried::Pci, !resource.pci.is_empty()), (Carried::Mdev, !resource.mdev.is_empty())];
    for (kind, _) in kinds.into_iter().filter(|(_, has_devices)| *has_devices) {
        for variable in resource.variables(kind, settings) {
            _ = writeln!(out, "  sets     {variable}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "configuration:
  permittedHostDevices:
    pciHostDevices:
    - pciVendorSelector: \"10DE:1EB8\"
      resourceName: \"nvidia.com/TU104GL_Tesla_T4\"
    mediatedDevices:
    - mdevNameSelector: \"GRID T4-1Q\"
      resourceName: \"nvidia.com/GRID_T4-1Q\"
";

    fn of(text: &str) -> Report {
        check(text.as_bytes(), "vfiod.yaml", ServeMode::Auto)
    }

    #[test]
    fn a_good_document_is_summed_up_with_its_variables() {
        let report = of(SEED);
        assert!(report.good);
        assert_eq!(report.diagnostics, "");
        assert_eq!(
            report.summary,
            "vfiod.yaml: 2 permitted, 2 served (--serve auto)

nvidia.com/TU104GL_Tesla_T4: served (the document is not a KubeVirt CR)
  selects  PCI 10de:1eb8  (configuration.permittedHostDevices.pciHostDevices[0], line 4)
  sets     PCI_RESOURCE_NVIDIA_COM_TU104GL_TESLA_T4
  sets     PCI_RESOURCE_NVIDIA_COM_TU104GL_Tesla_T4

nvidia.com/GRID_T4-1Q: served (the document is not a KubeVirt CR)
  selects  mdev GRID_T4-1Q  (configuration.permittedHostDevices.mediatedDevices[0], line 7)
  sets     MDEV_PCI_RESOURCE_NVIDIA_COM_GRID_T4-1Q

settings: envNames both, allowNoIommu false, preStart.releaseWait 20s
"
        );
    }

    #[test]
    fn a_bad_entry_is_shown_where_it_stands_and_the_others_are_summed_up() {
        let report = of(&SEED.replace("10DE:1EB8", "10DE"));
        assert!(!report.good);
        assert_eq!(
            report.diagnostics,
            "vfiod.yaml:4:26: configuration.permittedHostDevices.pciHostDevices[0].pciVendorSelector: \"10DE\" is not \
             vendor:product; write four hexadecimal digits, a colon and four more, as in 10DE:1EB8
        - pciVendorSelector: \"10DE\"
                             ^
vfiod.yaml: 1 problem: vfiod would start without the bad entries; a running vfiod keeps their last good definition
"
        );
        assert!(report.summary.starts_with("vfiod.yaml: 1 permitted, 1 served"), "{}", report.summary);
    }

    #[test]
    fn a_document_that_serves_nothing_is_good_and_says_so_with_the_remedy() {
        let report = of("permittedHostDevices: {}");
        assert!(report.good);
        assert!(report.diagnostics.contains("vfiod.yaml:1:1: notice: "), "{}", report.diagnostics);
        let cr = "kind: KubeVirt\nspec:\n  configuration:\n    permittedHostDevices:\n      pciHostDevices: [{pciVendorSelector: '10de:1eb8', resourceName: a.b/c}]\n";
        let report = of(cr);
        assert!(report.good);
        assert!(report.diagnostics.contains("--serve all"), "{}", report.diagnostics);
        assert!(report.summary.contains("a.b/c: not served"), "{}", report.summary);
    }

    #[test]
    fn what_is_no_text_is_a_problem_with_a_place() {
        let report = check(b"a: 1\nb: \xff\n", "x", ServeMode::Auto);
        assert!(!report.good);
        assert!(report.diagnostics.starts_with("x:2:4: the document is not UTF-8 text"), "{}", report.diagnostics);
    }

    #[test]
    fn a_bad_setting_is_said_to_keep_vfiod_from_starting() {
        let report = of("permittedHostDevices: {}\nenvNames: all\n");
        assert!(!report.good);
        assert!(report.diagnostics.contains("would not start"), "{}", report.diagnostics);
    }
}
