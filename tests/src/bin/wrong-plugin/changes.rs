//! What happens to the first card: lines of a file, each one seen.

use std::{
    fs::{self, File},
    io::Read as _,
    path::PathBuf,
    time::Duration,
};
use tokio::{
    sync::{broadcast, watch},
    task::yield_now,
    time::sleep,
};

/// How often the file is looked at.
const PERIOD: Duration = Duration::from_millis(2);
/// How many changes are kept for a stream that wants every one and is not read.
const KEPT: usize = 64;

/// The state of the first card, and the way there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    pub down: bool,
    pub was_down: bool,
    pub changes: usize,
}

/// The changes, for those who want the last one and for those who want each one.
#[derive(Debug)]
pub struct Changes {
    pub last: watch::Receiver<State>,
    pub every: broadcast::Sender<State>,
}

impl Changes {
    /// Follows the file, if there is one.
    pub fn follow(file: Option<PathBuf>) -> Self {
        // What was before this process is known, and no change.
        let text = file.as_ref().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        let down = text.lines().last() == Some("down");
        let mut skip = text.len();
        let (tell, last) = watch::channel(State { down, was_down: down, changes: 0 });
        let every = broadcast::channel(KEPT).0;
        let each = every.clone();
        tokio::spawn(async move {
            let mut open = None;
            let mut held = String::new();
            loop {
                if open.is_none() {
                    open = file.as_ref().and_then(|file| File::open(file).ok());
                }
                if let Some(open) = &mut open {
                    let mut bytes = Vec::new();
                    let _ = open.read_to_end(&mut bytes);
                    let new = bytes.get(skip..).unwrap_or_default();
                    skip = 0;
                    held.push_str(&String::from_utf8_lossy(new));
                }
                while let Some((line, rest)) = held.split_once('\n') {
                    let down = line == "down";
                    held = rest.to_owned();
                    tell.send_modify(|state| {
                        *state = State { down, was_down: state.was_down || down, changes: state.changes + 1 };
                    });
                    let _ = each.send(*tell.borrow());
                    // Whoever wants each change has it before the next one comes.
                    for _ in 0..8 {
                        yield_now().await;
                    }
                }
                sleep(PERIOD).await;
            }
        });
        Self { last, every }
    }
}
