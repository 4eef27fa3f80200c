//! The user's commands that make a device unusable and usable again.

use std::process::{Command, Stdio};
use tokio::task::spawn_blocking;

/// `--break` and `--mend`, for `sh -c`; `{device}`, `{address}` and `{resource}` are filled in.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// Makes the device unusable.
    pub broken: String,
    /// Makes it usable again.
    pub mended: String,
}

/// The hooks for one device.
#[derive(Debug, Clone)]
pub(super) struct DeviceHooks {
    broken: String,
    mended: String,
    variables: [(&'static str, String); 3],
}

impl Hooks {
    pub(super) fn of(&self, resource: &str, device: &str, address: &str) -> DeviceHooks {
        let fill = |command: &str| {
            command.replace("{device}", device).replace("{address}", address).replace("{resource}", resource)
        };
        DeviceHooks {
            broken: fill(&self.broken),
            mended: fill(&self.mended),
            variables: [
                ("CONFORM_DEVICE", device.to_owned()),
                ("CONFORM_ADDRESS", address.to_owned()),
                ("CONFORM_RESOURCE", resource.to_owned()),
            ],
        }
    }
}

impl DeviceHooks {
    /// Makes the device unusable. The error is for people.
    pub(super) async fn break_device(&self) -> Result<(), String> {
        self.run("--break", self.broken.clone()).await
    }

    /// Makes it usable again. The error is for people.
    pub(super) async fn mend_device(&self) -> Result<(), String> {
        self.run("--mend", self.mended.clone()).await
    }

    /// Breaks and mends it `rounds` times, as fast as one shell can.
    pub(super) async fn storm(&self, rounds: usize) -> Result<(), String> {
        let (broken, mended) = (&self.broken, &self.mended);
        // A newline before each bracket: the commands may end in a comment.
        let script = format!(
            "i=0; while [ $i -lt {rounds} ]; do ({broken}\n) || exit 1; ({mended}\n) || exit 1; i=$((i+1)); done"
        );
        self.run("--break and --mend in turn", script).await
    }

    async fn run(&self, what: &'static str, script: String) -> Result<(), String> {
        let variables = self.variables.clone();
        let done = spawn_blocking(move || {
            Command::new("/bin/sh").args(["-c", &script]).envs(variables).stdin(Stdio::null()).output()
        })
        .await;
        let output = match done {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(format!("{what} cannot be run: {error}")),
            Err(error) => return Err(format!("{what} cannot be run: {error}")),
        };
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or("it said nothing");
        Err(format!("{what} failed ({}): {said}", output.status))
    }
}
