//! Runs inside the guest that `cargo xtask vm` boots: `vm-checks PORT [tour [colour] | only TEXT minutes N]`, where PORT is the serial port
//! that the task listens to. Without more it makes every check; `only` makes those of the scenarios whose name contains
//! TEXT, `soak`, which must be named, for N minutes; `tour` shows the main job instead.

use std::process::ExitCode;
use vfiod_tests::vm::{self, Task};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (port, task) = match arguments.as_slice() {
        [port] => (port, Task::Check { only: String::new(), minutes: 0 }),
        [port, "only", text, "minutes", minutes] => {
            (port, Task::Check { only: (*text).to_owned(), minutes: minutes.parse().unwrap_or(0) })
        }
        [port, "tour"] => (port, Task::Tour { colour: false }),
        [port, "tour", "colour"] => (port, Task::Tour { colour: true }),
        _ => {
            eprintln!(
                "usage: vm-checks PORT [tour [colour] | only TEXT minutes N]    (started by the guest's init; see `cargo xtask vm`)"
            );
            return ExitCode::from(2);
        }
    };
    match vm::run(port.as_ref(), &task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vm-checks: {error:#}");
            ExitCode::FAILURE
        }
    }
}
