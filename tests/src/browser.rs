//! A real browser: headless Chromium, driven over its debugging pipe (Chrome DevTools Protocol).

#![allow(clippy::indexing_slicing, reason = "what a JSON value does not have is null")]

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    env,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long anything in the browser may take; far longer than it does.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running browser with one page.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: String,
    asked: u64,
    /// What the page complained of: exceptions, and what its policy forbids.
    complaints: Vec<String>,
    _folder: TempDir,
}

/// The browser's program.
///
/// # Errors
/// When there is none; says how to get it.
pub fn chromium() -> Result<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let mut programs = env::split_paths(&folders).map(|folder| folder.join("chromium"));
    programs
        .find(|path| path.is_file())
        .context("chromium is missing; `apt-get install --no-install-recommends chromium`")
}

impl Browser {
    /// Starts it and opens `address`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn open(address: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let (input, output) = (folder.path().join("in"), folder.path().join("out"));
        for pipe in [&input, &output] {
            ensure!(Command::new("mkfifo").arg(pipe).status()?.success(), "mkfifo failed");
        }
        // The browser speaks on its descriptors 3 and 4; what it writes elsewhere concerns nobody.
        let child = Command::new("sh")
            .args(["-c", r#"exec 3<"$1" 4>"$2"; shift 2; exec "$@""#, "sh"])
            .args([&input, &output])
            .arg(chromium()?)
            .args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-extensions", "--disable-background-networking", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .arg("about:blank")
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting chromium")?;
        let to = OpenOptions::new().write(true).open(&input)?;
        let answers = BufReader::new(File::open(&output)?);
        let (told, from) = channel();
        thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { return };
                if told.send(message).is_err() {
                    return;
                }
            }
        });
        let (session, complaints) = (String::new(), Vec::new());
        let mut browser = Self { child, to, from, session, asked: 0, complaints, _folder: folder };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.ask("Target.attachToTarget", attach)?;
        session["sessionId"].as_str().context("no session")?.clone_into(&mut browser.session);
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            browser.ask(domain, json!({}))?;
        }
        browser.ask("Page.navigate", json!({ "url": address }))?;
        Ok(browser)
    }

    /// Sets the size of the page, as a screen of that many points has it; a phone is touched and has twice the pixels.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn resize(&mut self, width: u32, height: u32, phone: bool) -> Result<()> {
        let scale = if phone { 2 } else { 1 };
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone});
        self.ask("Emulation.setDeviceMetricsOverride", metrics).map(drop)
    }

    /// Asks for a dark page, or a light one.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn dark(&mut self, dark: bool) -> Result<()> {
        let value = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.ask("Emulation.setEmulatedMedia", media).map(drop)
    }

    /// Presses a key, as JavaScript names it.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let text = match key {
            "Enter" => "\r",
            key if key.chars().count() == 1 => key,
            _ => "",
        };
        let down = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        self.ask("Input.dispatchKeyEvent", json!({"type": down, "key": key, "text": text}))?;
        self.ask("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": key})).map(drop)
    }

    /// Types a text.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        text.chars().try_for_each(|letter| self.press(&letter.to_string()))
    }

    /// What an expression comes to.
    ///
    /// # Errors
    /// When it throws.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let mut answer = self.ask("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}))?;
        ensure!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        Ok(answer["result"]["value"].take())
    }

    /// Waits until an expression is true. One that throws is not true yet: the page may still be on its way.
    ///
    /// # Errors
    /// When it does not come to that; says what it came to last, and what the page shows.
    pub fn wait_for(&mut self, expression: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let value = self.evaluate(expression);
            if matches!(value, Ok(Value::Bool(true))) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let shown = self.evaluate("document.body.innerText")?;
                let shown = shown.as_str().unwrap_or_default();
                bail!("{expression} did not become true; it came to {value:?}, and the page shows:\n{shown}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Keeps a picture of what is shown.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn picture(&mut self, path: &Path) -> Result<()> {
        let picture = self.ask("Page.captureScreenshot", json!({"format": "png"}))?;
        let bytes = base64(picture["data"].as_str().unwrap_or_default());
        ensure!(bytes.starts_with(b"\x89PNG"), "no picture: {picture}");
        std::fs::write(path, bytes).with_context(|| path.display().to_string())
    }

    /// What the page complained of so far.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Asks the browser for something and waits for the answer.
    fn ask(&mut self, method: &str, params: Value) -> Result<Value> {
        self.asked += 1;
        let mut question = json!({"id": self.asked, "method": method, "params": params});
        if !self.session.is_empty() {
            question["sessionId"] = self.session.clone().into();
        }
        self.to.write_all(format!("{question}\0").as_bytes()).context("the browser is gone")?;
        let begun = Instant::now();
        loop {
            let mut message = match self.from.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => bail!("{method}: the browser does not answer"),
                Err(RecvTimeoutError::Disconnected) => bail!("{method}: the browser has ended"),
            };
            if message["id"] == self.asked {
                ensure!(message.get("error").is_none(), "{method}: {message}");
                return Ok(message["result"].take());
            }
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.complaints.push(message["params"].to_string()),
                // Of the network it is told that vfiod was away, which the tests want.
                Some("Log.entryAdded") if message["params"]["entry"]["source"] != "network" => {
                    self.complaints.push(message["params"].to_string());
                }
                _ => {}
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads base64 (RFC 4648, section 4).
fn base64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for six in text.bytes().filter_map(value) {
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}
