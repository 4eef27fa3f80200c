//! `simulate DIR`: a node with the seed's devices in `DIR/host`, a kubelet in `DIR/kubelet`, and a prompt.
//!
//! For trying any device plugin by hand: start the plugin on the two folders, then admit pods, take nodes away, restart
//! the kubelet. Reads one command a line from stdin; `help` lists them.

use anyhow::Result;
use std::{
    env,
    io::{BufRead, Write},
    path::PathBuf,
};
use vfiod_simulator::lab::{HELP, Lab};

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1);
    let (Some(folder), None) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        eprintln!(
            "usage: simulate DIR\n\nDIR is made, with a node in DIR/host and a kubelet in DIR/kubelet. At the prompt:\n{HELP}"
        );
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
