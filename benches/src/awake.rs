//! Processors that do not sleep while something is measured.

use std::{
    process::{Child, Command, Stdio},
    thread::available_parallelism,
};

/// Spins for as long as the process that is its first argument lives.
const SPIN: &str = r#"while kill -0 "$1" 2>/dev/null; do i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; done"#;

/// Keeps each processor busy with a process that gives way to every other one (`SCHED_IDLE`).
///
/// A processor that has nothing to do sleeps, and takes longer to wake than a call takes: on a virtual machine some 100 µs.
/// Who wakes threads more often would then be measured as the faster one, because its processors sleep less.
#[derive(Debug)]
pub struct Awake(Vec<Child>);

impl Awake {
    /// Keeps all processors awake until this is dropped. Without `chrt` (util-linux) they are let sleep, and that is said.
    #[must_use]
    pub fn keep() -> Self {
        let spin = || {
            let parent = std::process::id().to_string();
            let mut command = Command::new("chrt");
            command.args(["--idle", "0", "sh", "-c", SPIN, "spin", &parent]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        };
        let spinning: Result<Vec<Child>, _> =
            (0..available_parallelism().map_or(1, usize::from)).map(|_| spin()).collect();
        Self(spinning.unwrap_or_else(|error| {
            eprintln!("processors may sleep between calls, and waking them is measured with them: chrt: {error}");
            Vec::new()
        }))
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
