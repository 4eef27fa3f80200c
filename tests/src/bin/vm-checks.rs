//! Runs the checks inside the guest that `cargo xtask vm` boots: `vm-checks PORT`, where PORT is the serial port that
//! the task listens to.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(port) = std::env::args_os().nth(1) else {
        eprintln!("usage: vm-checks PORT    (started by the guest's init; see `cargo xtask vm`)");
        return ExitCode::from(2);
    };
    match vfiod_tests::vm::run(port.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vm-checks: {error:#}");
            ExitCode::FAILURE
        }
    }
}
