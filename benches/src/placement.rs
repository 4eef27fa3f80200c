//! Which processor runs what, while calls are measured.

use crate::server::Server;
use anyhow::{Context, Result};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// The client on one processor, and the server on the others, until this is dropped.
///
/// Left to itself the kernel puts a server beside its client or on another processor, as it likes, and stays with that: on
/// one processor a call is answered sooner, because nobody has to be woken elsewhere, and on two more calls are answered in a
/// second. Which of the two a server gets has nothing to do with the server.
#[derive(Debug)]
pub struct Apart {
    threads: Vec<Pid>,
    before: CpuSet,
}

impl Apart {
    /// Places this process and `server` with all its threads. On a machine with one processor nothing is placed.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn place(server: &Server) -> Result<Self> {
        let before = sched_getaffinity(None)?;
        let own = (0..CpuSet::MAX_CPU).find(|&cpu| before.is_set(cpu)).context("no processor may be used")?;
        let (mut client, mut rest) = (CpuSet::new(), before);
        client.set(own);
        rest.unset(own);
        if rest.count() == 0 {
            return Ok(Self { threads: Vec::new(), before });
        }
        let number = |id: &std::ffi::OsString| id.to_str()?.parse().ok().and_then(Pid::from_raw);
        let threads: Vec<Pid> = server.threads()?.iter().filter_map(|thread| number(&thread.id)).collect();
        for &thread in &threads {
            // One that has ended meanwhile needs no place.
            let _ = sched_setaffinity(Some(thread), &rest);
        }
        sched_setaffinity(None, &client)?;
        Ok(Self { threads, before })
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        for thread in self.threads.iter().copied().map(Some).chain([None]) {
            let _ = sched_setaffinity(thread, &self.before);
        }
    }
}
