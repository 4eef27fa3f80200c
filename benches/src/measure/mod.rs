//! The figures: each function measures on one fresh start, and gives the values of one block.

mod calls;
mod churn;
mod health;
mod life;
mod storm;

pub use calls::calls;
pub use churn::churn;
pub(crate) use health::burst;
pub use health::health;
pub(crate) use life::{all_plugins, kubelet_is_gone, settle};
pub use life::{idle, rescans, restarts, start, until_idle};
pub use storm::storm;

use crate::{client::Client, host::Host, server::Server};
use anyhow::{Context, Result};
use prost::Message;
use std::{fs, io, path::Path, time::Duration};
use vfiod_proto::{UNHEALTHY, deviceplugin::ListAndWatchResponse};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Fresh starts of each contestant.
    pub rounds: usize,
    /// Calls in a block.
    pub calls: usize,
    /// Devices whose node is taken and given back, one by one.
    pub flips: usize,
    /// Seconds of doing nothing.
    pub idle_seconds: u64,
    /// How long a server is left alone before that.
    pub idle_after: Duration,
    /// How often the unchanged host is read again: first unmeasured, then measured.
    pub rescans: [usize; 2],
    /// How long a server is left alone between what it was put through and the calls that are measured.
    pub settle: Duration,
}

/// A value of one block: the figure's key, and how much.
pub type Value = (&'static str, f64);

/// A server that has registered, and the client that plays its kubelet.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The process.
    pub server: &'a Server,
    /// The connection, with the first list received.
    pub client: Client,
    /// The host.
    pub host: &'a Host,
    /// The ids of the first list.
    pub ids: Vec<String>,
}

/// Makes a device node as the kernel does: it appears, and nobody opens it.
pub(crate) fn make(host: &Host, node: &Path) -> io::Result<()> {
    fs::hard_link(host.spare_node(), node)
}

/// The ids of a list, and how many of them are unhealthy.
fn read_list(list: &[u8]) -> Result<(Vec<String>, usize)> {
    let list = ListAndWatchResponse::decode(list).context("the server sent a list that is none")?;
    let ill = list.devices.iter().filter(|device| device.health == UNHEALTHY).count();
    Ok((list.devices.into_iter().map(|device| device.id).collect(), ill))
}

/// Numbers that look random and are the same in each run.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }

    /// `count` different ones of `ids`.
    pub(crate) fn pick<'i>(&mut self, ids: &'i [String], count: usize) -> Vec<&'i str> {
        let mut picked: Vec<&str> = Vec::with_capacity(count);
        while picked.len() < count.min(ids.len()) {
            match ids.get(self.below(ids.len())) {
                Some(id) if !picked.contains(&id.as_str()) => picked.push(id),
                _ => {}
            }
        }
        picked
    }
}
