//! `vfiod completions` and `vfiod man`: made from the same definition as the command line itself.

use super::{Cli, Failure};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Writes completions.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell to write them for
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes manual pages.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write a page for every command into this folder, instead of the main page to stdout
    #[arg(long, env = "VFIOD_MAN_DIR", value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Writes completions to stdout.
///
/// # Errors
/// When stdout cannot be written.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vfiod", &mut text);
    to_stdout(&text)
}

/// Writes the main page to stdout, or all pages into a folder.
///
/// # Errors
/// When they cannot be written.
pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    match &args.dir {
        Some(folder) => clap_mangen::generate_to(Cli::command(), folder).map_err(|error| cannot_write(folder, &error)),
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut text)
                .map_err(|error| Failure::Error(error.to_string()))?;
            to_stdout(&text)
        }
    }
}

fn cannot_write(folder: &Path, error: &io::Error) -> Failure {
    Failure::Error(format!("cannot write manual pages to {}: {error}; name a folder that exists", folder.display()))
}

fn to_stdout(text: &[u8]) -> Result<(), Failure> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Error(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
