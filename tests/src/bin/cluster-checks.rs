//! `cluster-checks PROGRAMS SCRATCH WORKSPACE [COMMAND…]`: starts a Kubernetes cluster of one node in the namespaces that it
//! is started in, and checks vfiod there, or runs a command. `cargo xtask cluster` starts it.

use std::process::ExitCode;
use vfiod_tests::cluster::{Subject, run};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(programs), Some(scratch), Some(workspace)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        eprintln!("usage: cluster-checks PROGRAMS SCRATCH WORKSPACE [COMMAND…]    (started by `cargo xtask cluster`)");
        return ExitCode::from(2);
    };
    let subject = Subject {
        programs: programs.into(),
        scratch: scratch.into(),
        workspace: workspace.into(),
        command: arguments.collect(),
    };
    match run(&subject) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("FAIL the cluster starts: {error:#}");
            ExitCode::FAILURE
        }
    }
}
