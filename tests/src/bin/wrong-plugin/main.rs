//! A small device plugin that keeps every convention, or is wrong in exactly one way: `--fault` names the check of
//! `vfiod conform` that should notice. It shares no code with vfiod.

mod answers;
mod cards;
mod changes;
mod fault;
mod feed;
mod life;
mod service;

use cards::Cards;
use changes::Changes;
use clap::Parser;
use fault::Fault;
use service::Plugin;
use std::{path::PathBuf, sync::Arc};

/// A device plugin with one fault, or none.
#[derive(Debug, Parser)]
struct Args {
    /// The kubelet's plugin folder
    #[arg(long)]
    dir: PathBuf,
    /// The check that should notice, and a variant after a colon
    #[arg(long)]
    fault: Option<Fault>,
    /// A file to which `down` and `up` are appended, line by line: what happens to the first card
    #[arg(long)]
    changes: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Args { dir, fault, changes } = Args::parse();
    let fault = fault.unwrap_or_default();
    let changes = Changes::follow(changes);
    let plugin = Arc::new(Plugin::new(Cards::new(fault.clone()), fault, changes));
    life::live(plugin, &dir).await
}
