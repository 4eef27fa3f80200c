//! How long this machine takes to load the probe, but for attaching it: `load-probe [TIMES]`. VFIO need not be there, nor kprobes.

use std::{process::ExitCode, time::Duration};
use vfiod::probe::{Absent, Rehearsal};

fn main() -> ExitCode {
    let times = std::env::args().nth(1).and_then(|times| times.parse().ok()).unwrap_or(15);
    match (0..times).map(|_| Rehearsal::take()).collect::<Result<Vec<_>, Absent>>() {
        Ok(rehearsals) => {
            show("types read", rehearsals.iter().map(|one| one.types).collect());
            show("programs verified", rehearsals.iter().map(|one| one.verified).collect());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let middle = times.get(times.len() / 2);
    let (Some(first), Some(middle), Some(last)) = (times.first(), middle, times.last()) else { return };
    println!("{what:<17} median {middle:>9.1?}, least {first:>9.1?}, most {last:>9.1?} of {} times", times.len());
}
