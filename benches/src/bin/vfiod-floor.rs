//! The floor: `vfiod-floor PLAN KUBELET_DIR HOST_ROOT`.

use anyhow::{Context, Result};
use std::path::PathBuf;
use vfiod_benches::{floor, plan::Plan};

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let mut next = || args.next().context("usage: vfiod-floor PLAN KUBELET_DIR HOST_ROOT");
    let (plan, kubelet_dir, host_root) = (next()?, next()?, next()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let plan = Plan::read(&plan)?;
    runtime.block_on(floor::serve(&plan, &kubelet_dir.join("device-plugins"), &host_root.join("dev/vfio")))
}
