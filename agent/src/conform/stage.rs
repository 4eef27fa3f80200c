//! The plugin's process, the kubelet that is played for it, and what it has registered.

use super::{
    book::Book,
    check::Check,
    checks::{options, registration},
    kubelet::{Arrival, Kubelet, Stream, Window, dial},
    process::{Launch, Process},
    session::CannotCheck,
    subject::{Subject, Terms},
};
use std::{collections::BTreeMap, fs, path::Path, time::Duration};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a kubelet that restarts is down.
const DOWN: Duration = Duration::from_millis(100);
/// How long the end of a stream may be on its way.
const STREAM_END: Duration = Duration::from_secs(1);

/// Everything that is needed to check a command.
pub(super) struct Stage {
    pub(super) terms: Terms,
    /// What is registered with the kubelet as it is now.
    pub(super) subjects: BTreeMap<String, Subject>,
    kubelet: Kubelet,
    launch: Launch,
    process: Option<Process>,
    /// Names that were registered, though nothing answers on their sockets.
    mute: Vec<String>,
    /// Removed with everything in it at the end.
    _private: TempDir,
}

/// How waiting for registrations ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// All are there.
    All,
    /// Not within the time.
    Late,
    /// The plugin has ended; how.
    Exited(String),
}

impl Stage {
    /// Makes the folders. Nothing runs yet.
    pub(super) fn prepare(command: &str, plugin_dir: Option<&Path>, terms: Terms) -> Result<Self, CannotCheck> {
        let failed = |what: &Path, error: std::io::Error| CannotCheck::Folder(format!("{}: {error}", what.display()));
        let private = tempfile::Builder::new()
            .prefix("conform-")
            .tempdir()
            .map_err(|error| failed(&std::env::temp_dir(), error))?;
        let folder = match plugin_dir {
            Some(folder) => folder.to_owned(),
            None => private.path().join("device-plugins"),
        };
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        let mut entries = fs::read_dir(&folder).map_err(|error| failed(&folder, error))?;
        if let Some(Ok(entry)) = entries.next() {
            return Err(CannotCheck::Folder(format!(
                "{}: it is not empty ({} is there), and playing the kubelet means to wipe it; stop the kubelet of this machine, or name another folder with --plugin-dir",
                folder.display(),
                entry.file_name().to_string_lossy()
            )));
        }
        let kubelet = Kubelet::new(&folder, terms.patience);
        let log = private.path().join("plugin.log");
        let launch = Launch { command: command.to_owned(), folder, log };
        let subjects = BTreeMap::new();
        Ok(Self { terms, subjects, kubelet, launch, process: None, mute: Vec::new(), _private: private })
    }

    pub(super) fn start_plugin(&mut self) -> Result<(), CannotCheck> {
        self.process = Some(self.launch.start().map_err(CannotCheck::Start)?);
        Ok(())
    }

    pub(super) fn start_kubelet(&mut self) -> Result<(), CannotCheck> {
        self.kubelet.start().map_err(|error| {
            CannotCheck::Folder(format!("{}: cannot listen there: {error}", self.launch.folder.display()))
        })
    }

    /// The kubelet goes, wipes its folder, and comes back.
    pub(super) async fn restart_kubelet(&mut self) -> Result<(), CannotCheck> {
        self.kubelet.stop().await;
        self.forget();
        sleep(DOWN).await;
        self.kubelet.wipe().map_err(|error| {
            CannotCheck::Folder(format!("{}: cannot be wiped: {error}", self.launch.folder.display()))
        })?;
        self.start_kubelet()
    }

    /// How the plugin ended, with its last words; `None` while it runs.
    pub(super) fn exited(&mut self) -> Option<String> {
        let status = self.process.as_mut()?.exited()?;
        let said = self.launch.last_lines();
        Some(if said.is_empty() { format!("{status}, without a word") } else { format!("{status}\n{said}") })
    }

    /// What to say of a plugin that runs and does not register.
    pub(super) fn silence(&self) -> String {
        let said = self.launch.last_lines();
        format!(
            "the plugin runs, and has not registered at {} within {} s; does it know the folder? It is filled in for {{dir}} in the command, and is in the environment as DEVICE_PLUGIN_DIR{}{said}",
            self.launch.folder.join(vfiod_proto::KUBELET_SOCKET).display(),
            self.terms.patience.as_secs_f32(),
            if said.is_empty() { "" } else { "\n" },
        )
    }

    /// Asks the plugin to end.
    pub(super) fn terminate(&self) {
        if let Some(process) = &self.process {
            process.terminate();
        }
    }

    /// Waits for its end. False when it does not end.
    pub(super) async fn ends(&mut self, patience: Duration) -> bool {
        match &mut self.process {
            Some(process) => process.ends(patience).await,
            None => true,
        }
    }

    /// Ends the plugin, whatever it thinks of it.
    pub(super) async fn stop_plugin(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
        // What it said last is of no use any more.
        for _ in 0..self.kubelet.waiting() {
            drop(self.kubelet.next());
        }
    }

    /// Ends plugin and kubelet, and leaves the folder as empty as it was.
    pub(super) async fn clear(mut self) {
        self.stop_plugin().await;
        self.forget();
        self.kubelet.stop().await;
        // What cannot be removed now, a person will see there.
        let _ = self.kubelet.wipe();
    }

    /// Closes the connections to all plugins.
    pub(super) fn forget(&mut self) {
        self.subjects.clear();
        self.mute.clear();
    }

    /// The names of all that is registered.
    pub(super) fn names(&self) -> Vec<String> {
        self.subjects.keys().chain(&self.mute).cloned().collect()
    }

    /// Whether all these are registered.
    pub(super) fn has(&self, names: &[String]) -> bool {
        names.iter().all(|name| self.subjects.contains_key(name) || self.mute.contains(name))
    }

    /// Which of these are not registered.
    pub(super) fn missing(&self, names: &[String]) -> Vec<String> {
        names.iter().filter(|name| !self.has(std::slice::from_ref(name))).cloned().collect()
    }

    /// Goes on as if these were registered: they were, and should be.
    pub(super) fn expect(&mut self, names: &[String]) {
        self.mute.extend(self.missing(names));
    }

    /// Takes registrations until `done`.
    pub(super) async fn gather(&mut self, done: impl Fn(&Self) -> bool, book: &mut Book) -> Gathered {
        let deadline = Instant::now() + self.terms.patience;
        loop {
            self.drain(book).await;
            if done(self) {
                return Gathered::All;
            }
            if let Some(how) = self.exited() {
                return Gathered::Exited(how);
            }
            if Instant::now() >= deadline {
                return Gathered::Late;
            }
            sleep(PAUSE).await;
        }
    }

    /// Takes the registrations that have come.
    pub(super) async fn drain(&mut self, book: &mut Book) {
        // No more than there are now: a plugin may register again and again.
        for _ in 0..self.kubelet.waiting() {
            let Some(arrival) = self.kubelet.next() else { return };
            self.take(arrival, book).await;
        }
    }

    async fn take(&mut self, arrival: Arrival, book: &mut Book) {
        let Arrival { request, socket, answered } = arrival;
        // It does not panic, and is not aborted.
        let Ok(answered) = answered.await else { return };
        registration::check(&request, &answered, book);
        let name = request.resource_name.clone();
        if let Some(live) = self.subjects.get(&name)
            && !live.stream.until(STREAM_END, |seen| seen.ended.is_some()).await
        {
            book.fail(&registration::ONCE, &name, "registered again while its stream was open");
        }
        let answered = match answered {
            Ok(answered) => Some(answered),
            // Perhaps it serves by now: the rest can be checked then.
            Err(_) => match dial(&socket, self.terms.patience, Window::Usual).await {
                Ok(plugin) => {
                    let options = plugin.options(self.terms.patience).await;
                    Some((plugin, options))
                }
                Err(_) => None,
            },
        };
        let Some((plugin, answer)) = answered else {
            self.mute.push(name);
            return;
        };
        options::check(&name, Some(&request), &answer, book);
        let stream = Stream::open(&plugin);
        let options = answer.unwrap_or_default();
        let resource = Some(name.clone());
        self.mute.retain(|mute| *mute != name);
        self.subjects.insert(name, Subject { resource, socket, plugin, options, stream, probes: Vec::new() });
    }

    /// Waits until these have sent their lists: before that there is no stream to end.
    pub(super) async fn listed<'a>(&self, names: impl IntoIterator<Item = &'a String>) {
        for subject in names.into_iter().filter_map(|name| self.subjects.get(name)) {
            subject.stream.until(self.terms.patience, |seen| seen.messages > 0).await;
        }
    }

    /// The ids of every resource that has sent a list, sorted.
    pub(super) fn lists(&self) -> BTreeMap<String, Vec<String>> {
        let seen = self.subjects.iter().map(|(name, subject)| (name, subject.stream.seen()));
        seen.filter(|(_, seen)| seen.messages > 0).map(|(name, seen)| (name.clone(), seen.ids())).collect()
    }

    /// Holds the first lists against those of before.
    pub(super) async fn compare(&self, before: &BTreeMap<String, Vec<String>>, check: &'static Check, book: &mut Book) {
        for (name, old) in before {
            let Some(subject) = self.subjects.get(name) else { continue };
            // A list that grows to what it was has been wrong first.
            let come = subject.stream.until(self.terms.patience, |seen| seen.messages > 0).await;
            if !come {
                book.fail(check, name, format!("no list within {} s", self.terms.patience.as_secs_f32()));
                continue;
            }
            let new = subject.stream.seen().first;
            let lost: Vec<&str> = old.iter().filter(|id| !new.contains(id)).map(String::as_str).collect();
            let come: Vec<&str> = new.iter().filter(|id| !old.contains(id)).map(String::as_str).collect();
            book.judge(check, name, lost.is_empty() && come.is_empty(), || {
                format!("not listed any more: [{}]; listed for the first time: [{}]", few(&lost), few(&come))
            });
        }
    }
}

/// The first of many.
fn few(ids: &[&str]) -> String {
    const MOST: usize = 4;
    let shown = ids.get(..MOST.min(ids.len())).unwrap_or_default().join(", ");
    if ids.len() > MOST { format!("{shown}, … ({} in all)", ids.len()) } else { shown }
}
