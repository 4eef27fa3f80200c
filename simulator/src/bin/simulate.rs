//! `simulate DIR`: a node with the seed's devices in `DIR/host`, a kubelet in `DIR/kubelet`, and a prompt.
//!
//! For trying any device plugin by hand: start the plugin on the two folders, then admit pods, take nodes away, restart
//! the kubelet. Reads one command a line from stdin; `help` lists them.

use anyhow::Result;
use std::{
    env,
    ffi::OsString,
    io::{BufRead, Write},
    path::PathBuf,
};
use vfiod_simulator::lab::{HELP, Lab};

const USAGE: &str = "usage: simulate DIR

DIR is made, with a node in DIR/host and a kubelet in DIR/kubelet. At the prompt:";

fn main() -> Result<()> {
    let Some(folder) = understood(env::args_os().skip(1)) else {
        eprintln!("{USAGE}\n{HELP}");
        std::process::exit(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut lab = Lab::open(&folder).await?;
        println!("node {}\nkubelet {}\n", folder.join("host").display(), folder.join("kubelet").display());
        prompt();
        for line in std::io::stdin().lock().lines() {
            match lab.obey(line?.trim(), &mut std::io::stdout()).await {
                Ok(true) => prompt(),
                Ok(false) => break,
                Err(error) => {
                    println!("{error:#}");
                    prompt();
                }
            }
        }
        Ok(())
    })
}

fn prompt() {
    print!("> ");
    let _ = std::io::stdout().flush();
}

/// The folder; nothing where the arguments are not understood. A word that looks like an option is no folder: `--help`
/// would be made one.
fn understood(arguments: impl IntoIterator<Item = OsString>) -> Option<PathBuf> {
    let mut arguments = arguments.into_iter();
    let folder = arguments.next().filter(|folder| !folder.to_string_lossy().starts_with('-'))?;
    arguments.next().is_none().then(|| folder.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_no_folder() {
        let of = |line: &str| understood(line.split_whitespace().map(OsString::from));
        assert_eq!(of("lab"), Some("lab".into()));
        for wrong in ["", "--help", "-h", "lab other"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
