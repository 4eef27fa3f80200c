//! The command under test, and what it reports.

use serde_json::Value;
use std::process::{Command, Output, Stdio};
use vfiod_tests::agent::binary;

/// What a run of `vfiod conform -o json` reports.
pub struct Report {
    pub code: i32,
    value: Value,
    stderr: String,
}

/// `vfiod conform` with these arguments.
pub fn conform(arguments: &[&str]) -> Output {
    Command::new(binary()).arg("conform").args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The same, with a report that is taken apart.
pub fn report(arguments: &[&str]) -> Report {
    let output = conform(&[arguments, &["-o", "json"]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    Report { code: output.status.code().unwrap(), value, stderr }
}

impl Report {
    /// The names of the checks that ended so.
    pub fn with_outcome(&self, outcome: &str) -> Vec<String> {
        let checks = self.value["checks"].as_array().unwrap().iter();
        checks
            .filter(|check| check["outcome"] == outcome)
            .map(|check| check["check"].as_str().unwrap().to_owned())
            .collect()
    }

    /// How many checks there are.
    pub fn len(&self) -> usize {
        self.value["checks"].as_array().unwrap().len()
    }

    /// What a person would want to see when a test fails.
    pub fn told(&self) -> String {
        let checks = self.value["checks"].as_array().unwrap().iter();
        let worth = checks.filter(|check| check["outcome"] != "passed");
        let lines: Vec<String> = worth
            .map(|check| format!("{} {}: {} {}", check["outcome"], check["check"], check["reason"], check["findings"]))
            .collect();
        format!("exit code {}\n{}\n{}", self.code, lines.join("\n"), self.stderr)
    }
}
