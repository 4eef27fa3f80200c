//! What `cargo xtask demo` builds and runs: vfiod at work on a simulated node.

use clap::Parser;
use std::process::ExitCode;
use vfiod_tests::demo::{Options, run};

fn main() -> ExitCode {
    run(&Options::parse())
}
