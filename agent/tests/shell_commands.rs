//! `vfiod completions` and `vfiod man` know every command.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::{Command, Output};

fn vfiod(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vfiod")).args(arguments).output().unwrap()
}

/// The commands that `vfiod --help` lists.
fn commands() -> Vec<String> {
    let help = String::from_utf8(vfiod(&["--help"]).stdout).unwrap();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.map(ToOwned::to_owned).collect()
}

#[test]
fn completions_offer_every_command_in_every_shell() {
    let commands = commands();
    assert!(commands.len() > 8, "{commands:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = String::from_utf8(vfiod(&["completions", shell]).stdout).unwrap();
        for command in &commands {
            assert!(text.contains(command.as_str()), "{shell} does not offer {command}");
        }
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let folder = tempfile::TempDir::new().unwrap();
    assert!(vfiod(&["man", "--dir", folder.path().to_str().unwrap()]).status.success());
    for command in commands() {
        assert!(folder.path().join(format!("vfiod-{command}.1")).is_file(), "no page for {command}");
    }
    let main = String::from_utf8(vfiod(&["man"]).stdout).unwrap();
    assert!(main.contains(".TH vfiod 1") && main.contains("holders"), "{main}");
    let nowhere = vfiod(&["man", "--dir", "/nonexistent/folder"]);
    assert_eq!(nowhere.status.code(), Some(1));
    let told = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(told.contains("/nonexistent/folder") && told.contains("name a folder"), "{told}");
}
