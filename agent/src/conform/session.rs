//! A whole check from its beginning to its end: of a socket, or of a command.

use super::{
    Options, Target,
    book::Book,
    check,
    checks::{self, registration, restart, stop},
    host::Host,
    inspect::inspect,
    kubelet::{Stream, Window, dial, told},
    report::{Report, ResourceSeen},
    stage::{Gathered, Stage},
    subject::{Subject, Terms},
};
use std::{collections::BTreeMap, error::Error as _, path::Path, time::Duration};
use tokio::time::{Instant, sleep};
use tonic::Code;

/// How long a plugin is left alone before there is a kubelet.
const HEAD_START: Duration = Duration::from_secs(1);
/// How long no other resource must be registered for all to be there.
const SETTLED: Duration = Duration::from_millis(300);

/// The sorted ids of each resource.
type Lists = BTreeMap<String, Vec<String>>;

/// Why a plugin could not be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum CannotCheck {
    /// The socket.
    #[error("{0}; name the socket that a running plugin listens on, in /var/lib/kubelet/device-plugins as a rule")]
    Socket(String),
    /// The socket is served by something else.
    #[error("{socket}: whoever listens there does not answer as a device plugin does: {reason}")]
    NoPlugin {
        /// Its path.
        socket: String,
        /// What came instead.
        reason: String,
    },
    /// The plugin folder.
    #[error("{0}")]
    Folder(String),
    /// The command.
    #[error("the plugin cannot be started: {0}")]
    Start(std::io::Error),
    /// It does not register.
    #[error("{0}")]
    NeverRegistered(String),
}

/// Checks what `options` names.
///
/// # Errors
/// When there is nothing to check.
pub(super) async fn run(options: &Options) -> Result<Report, CannotCheck> {
    let begun = Instant::now();
    let mut book = Book::new(&options.skip);
    let terms = Terms { host: Host::new(&options.host_root), patience: options.patience };
    let (target, resources) = match &options.target {
        Target::Socket(socket) => {
            (socket.display().to_string(), vec![of_socket(socket, options, &terms, &mut book).await?])
        }
        Target::Command { command, plugin_dir } => {
            let stage = Stage::prepare(command, plugin_dir.as_deref(), terms)?;
            (command.clone(), of_command(stage, options, &mut book).await?)
        }
    };
    Ok(Report { target, resources, verdicts: book.close(), took: begun.elapsed() })
}

async fn of_socket(
    socket: &Path,
    options: &Options,
    terms: &Terms,
    book: &mut Book,
) -> Result<ResourceSeen, CannotCheck> {
    let plugin =
        dial(socket, Duration::ZERO, Window::Usual).await.map_err(|error| CannotCheck::Socket(error.to_string()))?;
    let answer = plugin.options(terms.patience).await;
    if let Err(status) = &answer
        && (status.source().is_some() || status.code() == Code::DeadlineExceeded)
    {
        let reason = told(status);
        return Err(CannotCheck::NoPlugin { socket: socket.display().to_string(), reason });
    }
    for check in check::all().filter(|check| check.needs == check::Needs::Command) {
        book.unchecked(check, "it takes --command: a plugin that runs already cannot be restarted from here");
    }
    let name = options.resource.as_deref().unwrap_or_default();
    checks::options::check(name, None, &answer, book);
    let mut subject = Subject {
        resource: options.resource.clone(),
        socket: socket.to_owned(),
        stream: Stream::open(&plugin),
        plugin,
        options: answer.unwrap_or_default(),
        probes: Vec::new(),
    };
    inspect(&mut subject, options.hooks.as_ref(), terms, book).await;
    Ok(ResourceSeen::of(&subject))
}

async fn of_command(mut stage: Stage, options: &Options, book: &mut Book) -> Result<Vec<ResourceSeen>, CannotCheck> {
    first_start(&mut stage, book).await?;
    let names: Vec<String> =
        stage.names().into_iter().filter(|name| options.resource.as_ref().is_none_or(|only| only == name)).collect();
    if let Some(only) = &options.resource
        && names.is_empty()
    {
        let all = stage.names().join(", ");
        return Err(CannotCheck::NeverRegistered(format!("the plugin registers {all}, and not {only}")));
    }
    let mut seen = Vec::new();
    let mut listing = Vec::new();
    for name in &names {
        let terms = stage.terms.clone();
        if let Some(subject) = stage.subjects.get_mut(name) {
            inspect(subject, options.hooks.as_ref(), &terms, book).await;
            seen.push(ResourceSeen::of(subject));
            listing.extend((subject.stream.seen().messages > 0).then_some(name));
        }
        alive(&mut stage, name, book).await?;
    }
    stage.drain(book).await;
    book.pass(&registration::ONCE);
    stage.listed(listing).await;
    let lists = stage.lists();
    if book.wants(restart::GROUP.checks) {
        kubelet_ends_streams(&mut stage, &lists, book).await?;
        kubelet_restarts(&mut stage, &lists, book).await?;
    }
    if book.wants(stop::GROUP.checks) || book.wants(&[&restart::IDS]) {
        plugin_restarts(&mut stage, &lists, book).await?;
    }
    stage.clear().await;
    Ok(seen)
}

/// Starts the plugin before the kubelet; if that does not work, after it.
async fn first_start(stage: &mut Stage, book: &mut Book) -> Result<(), CannotCheck> {
    if book.wants(&[&registration::BEFORE_KUBELET]) {
        stage.start_plugin()?;
        let until = Instant::now() + HEAD_START;
        while Instant::now() < until && stage.exited().is_none() {
            sleep(Duration::from_millis(10)).await;
        }
        let early = stage.exited();
        stage.start_kubelet()?;
        let outcome = match early {
            Some(how) => Gathered::Exited(how),
            None => stage.gather(|stage| !stage.names().is_empty(), book).await,
        };
        match outcome {
            Gathered::All => {
                book.pass(&registration::BEFORE_KUBELET);
                return settle(stage, book).await;
            }
            Gathered::Exited(how) => {
                book.fail(&registration::BEFORE_KUBELET, "", format!("without a kubelet the plugin ended: {how}"));
            }
            Gathered::Late => {
                let what =
                    format!("no registration within {} s after the kubelet came", stage.terms.patience.as_secs_f32());
                book.fail(&registration::BEFORE_KUBELET, "", what);
            }
        }
        stage.stop_plugin().await;
    } else {
        stage.start_kubelet()?;
    }
    stage.start_plugin()?;
    match stage.gather(|stage| !stage.names().is_empty(), book).await {
        Gathered::All => settle(stage, book).await,
        Gathered::Exited(how) => {
            Err(CannotCheck::NeverRegistered(format!("the plugin ended before it registered: {how}")))
        }
        Gathered::Late => Err(CannotCheck::NeverRegistered(stage.silence())),
    }
}

/// Waits until no other resource is registered any more.
async fn settle(stage: &mut Stage, book: &mut Book) -> Result<(), CannotCheck> {
    loop {
        let before = stage.names().len();
        sleep(SETTLED).await;
        stage.drain(book).await;
        if stage.names().len() == before {
            return Ok(());
        }
    }
}

/// Notices a plugin that ended while it was inspected, and starts it again.
async fn alive(stage: &mut Stage, name: &str, book: &mut Book) -> Result<(), CannotCheck> {
    let patience = stage.terms.patience;
    let lost = match stage.subjects.get(name) {
        Some(subject) => subject.plugin.options(patience).await.is_err_and(|status| status.source().is_some()),
        None => false,
    };
    if !(lost && stage.ends(patience).await) {
        book.pass(&stop::BY_ITSELF);
        return Ok(());
    }
    let how = stage.exited().unwrap_or_default();
    book.fail(&stop::BY_ITSELF, name, format!("the plugin ended while it was called: {how}"));
    back(stage, book).await
}

/// Starts a plugin again that should not have ended, or that has forgotten the kubelet.
async fn back(stage: &mut Stage, book: &mut Book) -> Result<(), CannotCheck> {
    let names = stage.names();
    stage.stop_plugin().await;
    stage.forget();
    stage.start_plugin()?;
    stage.gather(|stage| stage.has(&names), book).await;
    Ok(())
}

async fn kubelet_ends_streams(stage: &mut Stage, lists: &Lists, book: &mut Book) -> Result<(), CannotCheck> {
    if !book.wants(&[&restart::STREAM_END]) {
        return Ok(());
    }
    let names = stage.names();
    stage.forget();
    match stage.gather(|stage| stage.has(&names), book).await {
        Gathered::All => book.pass(&restart::STREAM_END),
        Gathered::Late => {
            let what = format!("not registered again within {} s", stage.terms.patience.as_secs_f32());
            for name in stage.missing(&names) {
                book.fail(&restart::STREAM_END, &name, what.clone());
            }
            stage.expect(&names);
        }
        Gathered::Exited(how) => {
            book.fail(&restart::STREAM_END, "", format!("the plugin ended: {how}"));
            stage.expect(&names);
            back(stage, book).await?;
        }
    }
    stage.listed(lists.keys()).await;
    Ok(())
}

async fn kubelet_restarts(stage: &mut Stage, lists: &Lists, book: &mut Book) -> Result<(), CannotCheck> {
    for check in [&restart::KUBELET, &restart::KUBELET_TWICE] {
        let names = stage.names();
        stage.restart_kubelet().await?;
        match stage.gather(|stage| stage.has(&names), book).await {
            Gathered::All => book.pass(check),
            Gathered::Late => {
                let what = format!("not registered again within {} s", stage.terms.patience.as_secs_f32());
                for name in stage.missing(&names) {
                    book.fail(check, &name, what.clone());
                }
                book.unchecked(&restart::KUBELET_TWICE, "the first restart failed");
                stage.expect(&names);
                return back(stage, book).await;
            }
            Gathered::Exited(how) => {
                book.fail(check, "", format!("the plugin ended: {how}"));
                book.unchecked(&restart::KUBELET_TWICE, "the first restart failed");
                stage.expect(&names);
                return back(stage, book).await;
            }
        }
        stage.compare(lists, &restart::LIST_AGAIN, book).await;
    }
    Ok(())
}

async fn plugin_restarts(stage: &mut Stage, lists: &Lists, book: &mut Book) -> Result<(), CannotCheck> {
    let names = stage.names();
    let patience = stage.terms.patience;
    let mut before = Lists::new();
    stage.drain(book).await;
    for name in lists.keys() {
        let Some(Subject { stream, .. }) = stage.subjects.get(name) else { continue };
        // What has not come yet would seem to come after SIGTERM.
        stream.until(patience, |seen| seen.messages > 0).await;
        stream.mark();
        before.insert(name.clone(), stream.seen().ids());
    }
    stage.terminate();
    let ended = stage.ends(patience).await;
    book.judge(&stop::ENDS, "", ended, || format!("it still runs {} s after SIGTERM", patience.as_secs_f32()));
    if ended {
        for (name, subject) in &stage.subjects {
            // Its streams have ended with it; what was sent before is still to be read.
            subject.stream.until(patience, |seen| seen.ended.is_some()).await;
            let (fewest, were) = (subject.stream.seen().fewest, before.get(name).map_or(0, Vec::len));
            if were == 0 {
                book.unchecked(&stop::NO_EMPTY_LIST, "the list is empty");
            } else {
                book.judge(&stop::NO_EMPTY_LIST, name, fewest >= were, || {
                    format!("a list of {fewest} devices after SIGTERM, {were} before")
                });
            }
        }
    } else {
        book.unchecked(&stop::NO_EMPTY_LIST, "the plugin did not end");
    }
    stage.stop_plugin().await;
    stage.forget();
    if !book.wants(&[&restart::IDS]) {
        return Ok(());
    }
    stage.start_plugin()?;
    match stage.gather(|stage| stage.has(&names), book).await {
        Gathered::All => stage.compare(lists, &restart::IDS, book).await,
        Gathered::Late => {
            for name in stage.missing(&names) {
                book.fail(&restart::IDS, &name, "not registered any more by the plugin's next process");
            }
        }
        Gathered::Exited(how) => book.fail(&restart::IDS, "", format!("the plugin's next process ended: {how}")),
    }
    Ok(())
}
