//! The pages that walk through vfiod with real output: every file and command on them, as a reader would do it.
//!
//! A block that follows a paragraph with "As `name`" is a file. In a `console` block, `$` is a shell, `>` the prompt of
//! `simulate`; what follows is compared, and `…` stands for any lines.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::time::sleep;
use vfiod_simulator::lab::Lab;
use vfiod_tests::{
    Agent,
    agent::{PATIENCE, binary},
};

/// One thing on a page.
#[derive(Debug, PartialEq)]
enum Step {
    File { name: String, text: String },
    Command { prompt: char, line: String, output: Vec<String> },
}

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)).unwrap()
}

/// All files and commands of a page, in their order.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut paragraph = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            if !line.is_empty() {
                paragraph = line.to_owned();
            }
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if language == "console" {
            steps.extend(commands(&block));
        } else if let Some(name) = file_name(&paragraph) {
            steps.push(Step::File { name, text: block.join("\n") + "\n" });
        }
        paragraph.clear();
    }
    steps
}

fn file_name(paragraph: &str) -> Option<String> {
    let (_, rest) = paragraph.split_once("As `").or_else(|| paragraph.split_once("; as `"))?;
    Some(rest.split('`').next()?.to_owned())
}

fn commands(block: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block {
        let prompt = ['$', '>'].into_iter().find(|prompt| line.starts_with(&format!("{prompt} ")));
        match (prompt, steps.last_mut()) {
            (Some(prompt), _) => {
                steps.push(Step::Command { prompt, line: line[2..].to_owned(), output: Vec::new() });
            }
            (None, Some(Step::Command { output, .. })) => output.push((*line).to_owned()),
            (None, _) => panic!("output without a command: {line}"),
        }
    }
    steps
}

/// Whether the lines are what the page shows.
fn agree(expected: &[String], actual: &[&str]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((first, rest)) if first == "…" => (0..=actual.len()).any(|skipped| agree(rest, &actual[skipped..])),
        Some((first, rest)) => actual.split_first().is_some_and(|(line, more)| line == first && agree(rest, more)),
    }
}

/// The reader's desk: a folder, the node and the daemon.
struct Reader {
    folder: TempDir,
    /// Holds the binary under the name that the pages use.
    programs: TempDir,
    lab: Option<Lab>,
    agent: Option<Agent>,
    last: Option<i32>,
    compared: usize,
}

impl Reader {
    fn new() -> Self {
        let programs = TempDir::new().unwrap();
        symlink(binary(), programs.path().join("vfiod")).unwrap();
        Self { folder: TempDir::new().unwrap(), programs, lab: None, agent: None, last: None, compared: 0 }
    }

    async fn read(&mut self, page: &str) {
        for step in steps(page) {
            match step {
                Step::File { name, text } => fs::write(self.folder.path().join(name), text).unwrap(),
                Step::Command { prompt: '>', line, output } => self.at_prompt(&line, &output).await,
                Step::Command { line, output, .. } => self.in_shell(&line, &output).await,
            }
        }
    }

    async fn at_prompt(&mut self, line: &str, expected: &[String]) {
        let mut out = Vec::new();
        self.lab.as_mut().unwrap().obey(line, &mut out).await.unwrap();
        let out = String::from_utf8(out).unwrap();
        // The kubelet asks for its resources in any order, and so come the nodes.
        let sorted = |mut lines: Vec<&str>| {
            lines.sort_unstable();
            lines.join("\n")
        };
        assert_eq!(sorted(out.lines().collect()), sorted(expected.iter().map(String::as_str).collect()), "> {line}");
        self.compared += 1;
    }

    async fn in_shell(&mut self, line: &str, expected: &[String]) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["cargo", ..] => {} // that is what built this test
            ["simulate", folder] => self.lab = Some(Lab::open(&self.folder.path().join(folder)).await.unwrap()),
            ["vfiod", "run", flags @ ..] => self.serve(flags, expected).await,
            ["echo", "$?"] => assert_eq!(expected, [self.last.unwrap().to_string()]),
            _ => {
                let begun = Instant::now();
                let output = loop {
                    let output = self.shell(line);
                    let text = String::from_utf8(output.stdout.clone()).unwrap();
                    let lines: Vec<&str> = text.lines().collect();
                    if agree(expected, &lines) {
                        break output;
                    }
                    // A busy machine may make the kubelet answer later than vfiod waits.
                    let page = expected.join("\n");
                    assert!(begun.elapsed() < PATIENCE, "$ {line}\n--- page ---\n{page}\n--- now ---\n{text}");
                    sleep(Duration::from_millis(200)).await;
                };
                self.last = output.status.code();
                self.compared += 1;
            }
        }
    }

    /// Runs a line of shell where the reader's files are; what it tells and what it writes come as one.
    fn shell(&self, line: &str) -> Output {
        let path = format!("{}:{}", self.programs.path().display(), env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1; {line}")]).env_clear().env("PATH", path);
        shell.current_dir(&self.folder).output().unwrap()
    }

    async fn serve(&mut self, flags: &[&str], expected: &[String]) {
        let value = |flag: &str| {
            let at = flags.iter().position(|word| *word == flag).unwrap();
            self.folder.path().join(flags[at + 1])
        };
        let agent = Agent::builder(&value("--host-root"), &value("--kubelet-dir"), "").config_at(&value("--config"));
        let agent = agent.start().unwrap();
        for line in expected.iter().filter(|line| *line != "…") {
            // Names of sockets hold a process id.
            let stable = line.split(" socket=").next().unwrap();
            agent.wait_for_log(stable).unwrap();
        }
        let kubelet = self.lab.as_ref().unwrap().kubelet();
        kubelet
            .wait_for("all three resources have their capacity", PATIENCE, |state| {
                state.resources().len() == 3 && state.resources().iter().all(|name| state.allocatable(name) > 0)
            })
            .await
            .unwrap();
        self.agent = Some(agent);
    }
}

#[tokio::test]
async fn the_walk_from_a_permitted_device_to_the_domain_is_as_the_page_shows_it() {
    let mut reader = Reader::new();
    reader.read(&page("VM.md")).await;
    assert!(reader.compared >= 9, "only {} outputs were compared", reader.compared);
    assert!(reader.agent.is_some());
}

#[tokio::test]
async fn the_three_blocks_become_what_the_page_says() {
    let page = page("THREE-BLOCKS.md");
    let mut reader = Reader::new();
    // Files of a page may stand below their first use.
    for step in steps(&page) {
        if let Step::File { name, text } = step {
            fs::write(reader.folder.path().join(name), text).unwrap();
        }
    }
    reader.read(&page).await;
    assert_eq!(reader.compared, 2);
}

#[test]
fn steps_are_found_and_a_wrong_output_is_too() {
    let found = steps("As `a.yaml`, x:\n\n```yaml\nb: 1\n```\n\n```console\n$ x y\none\n…\n> z\n```\n");
    let command = |prompt, line: &str, output: &[&str]| {
        let output = output.iter().map(|line| (*line).to_owned()).collect();
        Step::Command { prompt, line: line.to_owned(), output }
    };
    let file = Step::File { name: "a.yaml".to_owned(), text: "b: 1\n".to_owned() };
    assert_eq!(found, [file, command('$', "x y", &["one", "…"]), command('>', "z", &[])]);
    let expected: Vec<String> = ["one", "…", "three"].map(str::to_owned).to_vec();
    assert!(agree(&expected, &["one", "two", "2", "three"]) && agree(&expected, &["one", "three"]));
    assert!(!agree(&expected, &["one"]) && !agree(&expected, &["one", "three", "four"]));
}
