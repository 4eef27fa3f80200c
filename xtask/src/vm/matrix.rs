//! `cargo xtask vm --kernel all`: the same checks on every kernel, and one verdict.

use super::choice::{self, Choice, Series};
use super::{Args, Report, Unavailable};
use anyhow::{Result, bail};

/// Runs the checks on each kernel in turn and prints what they came to. True where all passed on all.
///
/// # Errors
///
/// [`Unavailable`] where nothing failed and some kernel could not be had; whatever keeps a guest from running.
pub fn run(args: &Args) -> Result<bool> {
    if args.modules.is_some() || args.mtty.is_some() || args.tour {
        bail!("--kernel all goes with neither --modules nor --mtty nor --tour, which are about one kernel");
    }
    let mut results = Vec::new();
    for series in choice::ALL {
        println!("== kernel {}", series.name);
        let args = Args { kernel: Choice::Series(series), ..args.clone() };
        results.push((series, super::run(&args)));
    }
    println!("== all kernels");
    sum(results)
}

fn sum(results: Vec<(Series, Result<Report>)>) -> Result<bool> {
    let (mut passed, mut missing) = (true, Vec::new());
    let (mut ok, mut failed, mut skipped) = (0, 0, 0);
    for (series, result) in results {
        match result {
            Ok(report) => {
                println!("{:<12} {report}", series.name);
                passed &= report.passed();
                ok += report.ok;
                failed += report.failed;
                skipped += report.skipped.len();
            }
            Err(error) if error.is::<Unavailable>() => {
                println!("{:<12} skipped: {error}", series.name);
                missing.push(series.name);
            }
            Err(error) => {
                println!("{:<12} broken: {error:#}", series.name);
                passed = false;
            }
        }
    }
    let word = if passed && missing.is_empty() { "pass" } else { "fail" };
    println!("verdict {word} ok={ok} failed={failed} skipped={skipped} kernels={}", choice::ALL.len() - missing.len());
    match passed && !missing.is_empty() {
        true => Err(Unavailable(format!("nothing was checked on {}; the reason is above", missing.join(", "))).into()),
        false => Ok(passed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(failed: usize) -> Result<Report> {
        Ok(Report { ok: 3, failed, ..Report::default() })
    }

    #[test]
    fn one_kernel_that_fails_fails_them_all_whatever_else_is_missing() {
        let unavailable = || Err(Unavailable("no mirror".into()).into());
        let of = |results: [Result<Report>; 3]| sum(choice::ALL.into_iter().zip(results).collect());
        assert!(of([report(0), report(0), report(0)]).unwrap());
        assert!(!of([report(0), report(1), unavailable()]).unwrap());
        assert!(!of([report(0), Err(anyhow::anyhow!("QEMU does not start")), report(0)]).unwrap());
        assert!(of([report(0), unavailable(), report(0)]).unwrap_err().is::<Unavailable>());
    }
}
