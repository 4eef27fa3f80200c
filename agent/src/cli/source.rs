//! Where `vfiod top` and `vfiod watch` get their news: from the running daemon, or from looks at the host while none runs.

use super::{
    Failure,
    witness::{Witness, WitnessArgs},
};
use crate::{
    io::{IoMode, Runtime},
    status::rows_of_host,
};
use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};
use tokio::time::sleep;
use vfiod_proto::status::{FollowRequest, Summary, Update};

/// One piece of news.
#[derive(Debug)]
pub(super) enum News {
    /// A daemon answers, and everything that follows is from it.
    Daemon,
    /// No daemon answers; the host itself is looked at. With what is to be said of that look.
    Host(Vec<String>),
    /// What is so, or has changed.
    Update(Box<Update>),
    /// The daemon answers no more, for this reason; it is asked again.
    Lost(String),
    /// There is nothing to go on with.
    Failed(Failure),
}

/// The pause before a daemon that is gone is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// How often the host is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A look that takes long is repeated after so many times its length.
const PAUSE_PER_LOOK: u32 = 4;

/// Starts a thread that gets news until `take` wants no more.
pub(super) fn start(witness: WitnessArgs, mut take: impl FnMut(News) -> bool + Send + 'static) -> Result<(), Failure> {
    let news = move || {
        let runtime = match Runtime::start(IoMode::Plain) {
            Ok((runtime, _)) => runtime,
            Err(error) => {
                take(News::Failed(Failure::Error(error.to_string())));
                return;
            }
        };
        runtime.block_on(get(&witness, &mut take));
    };
    let thread = thread::Builder::new().name("vfiod-news".to_owned()).spawn(news);
    thread.map(drop).map_err(|error| Failure::Error(format!("cannot start a thread: {error}")))
}

async fn get(witness: &WitnessArgs, take: &mut (impl FnMut(News) -> bool + Send)) {
    let mut noted: Vec<String> = vec![String::new()];
    loop {
        let begun = Instant::now();
        let pause = match witness.find().await {
            Ok(Witness::Daemon(mut client)) => {
                noted = vec![String::new()];
                let lost = match client.follow(FollowRequest {}).await {
                    Ok(updates) => {
                        if !take(News::Daemon) {
                            return;
                        }
                        let mut updates = updates.into_inner();
                        loop {
                            match updates.message().await {
                                Ok(Some(update)) => {
                                    if !take(News::Update(Box::new(update))) {
                                        return;
                                    }
                                }
                                Ok(None) => break "it has ended the stream".to_owned(),
                                Err(status) => break status.message().to_owned(),
                            }
                        }
                    }
                    Err(status) => status.message().to_owned(),
                };
                if !take(News::Lost(lost)) {
                    return;
                }
                AGAIN
            }
            Ok(Witness::Host(view)) => {
                let (rows, resources) = rows_of_host(&view.inventory, &view.tracker);
                let summary = Some(Summary { resources, ..Summary::default() });
                let update =
                    Update { at_ms: now_ms(), reset: true, complete: true, rows, summary, ..Update::default() };
                if view.notes != noted {
                    noted = view.notes.clone();
                    if !take(News::Host(view.notes)) {
                        return;
                    }
                }
                if !take(News::Update(Box::new(update))) {
                    return;
                }
                LOOK.max(begun.elapsed() * PAUSE_PER_LOOK)
            }
            Err(failure) => {
                take(News::Failed(failure));
                return;
            }
        };
        sleep(pause).await;
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
