//! Has the running kernel verify an object of the probe: `verify-probe FILE`.
//!
//! Exits with 0 when every program passes, 1 when one does not, and 77 when this process may not load programs at all.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(file) = std::env::args_os().nth(1) else {
        eprintln!("usage: verify-probe FILE");
        return ExitCode::from(2);
    };
    let object = match std::fs::read(&file) {
        Ok(object) => object,
        Err(error) => {
            eprintln!("error: cannot read {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    };
    match vfiod::probe::verify(&object) {
        Ok(programs) => {
            for (name, instructions) in programs {
                println!("{name}: {instructions} instructions verified");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            if error.is_forbidden() { ExitCode::from(77) } else { ExitCode::FAILURE }
        }
    }
}
