//! The loop: takes what happens on this node, and keeps the inventory true.

mod ears;
mod heard;
mod told;

use self::ears::{Ears, Watched, changed, next_document, next_probe, next_uevents};
use super::{
    announce::announce,
    channels::{Channels, Command, NodeOptions, RunError},
    facts_file::FactsFile,
    fences::Fences,
    holder_watch::{FIRST_LOOK, HolderWatch},
    host_reader::HostReader,
    kubelet_watch::KubeletWatch,
    lists::Lists,
    marks::Marks,
    notes,
    ownership_reader::OwnershipReader,
    probe_start::ProbeStart,
    retries::Retries,
};
use crate::{
    config::{Config, Standing, follow::Follow},
    discovery::Fault,
    holders::Book,
    io::FileIo,
    memory,
    monitor::{uevent::UeventSocket, watch::Watcher},
    ownership::Sources,
    plugin::{FenceQuery, KubeletFolder},
    probe::CensusTaker,
    status::{Look, Mark, Marked, Query, piece},
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    sync::oneshot,
    time::{sleep_until, timeout},
};
use tracing::{info, warn};
use vfiod_core::{device::DeviceId, inventory::Inventory, ownership::Moment, permit::Permit};

/// How long after the start the kubelet may take to say who owns what, before a holder of no pod is taken for a stranger.
const OWNERS_DUE: Duration = Duration::from_secs(10);

/// How long the API server may take for its first answer, before the remembered CR is served.
const FIRST_DOCUMENT: Duration = Duration::from_millis(900);

/// The state of this node.
struct Node {
    inventory: Inventory,
    config: Config,
    kubelet: KubeletWatch,
    fences: Fences,
    faults: HashSet<Fault>,
    unavailable: HashSet<String>,
    retries: Retries,
    lists: Lists,
    marks: Marks,
    /// Whether a node came or went while the host was being read: that read may be older.
    nodes_moved: bool,
    /// When the event came whose consequences are still being read.
    event_at: Option<Moment>,
    /// Whether the host is being read again though nothing happened.
    rescanning: bool,
    /// Whether the next settling is for what such a look has found.
    correcting: bool,
    /// When to give memory back: after the whole host was read, much of it has changed or a crowd was served.
    tidy_at: Option<Moment>,
    /// Whether the sources of ownership are read often; changes only with a verdict.
    awaits_ownership: bool,
    rescan: Duration,
    next_rescan: Moment,
    /// When to look for grants again, for which nobody wakes the loop until then.
    next_grants: Option<Moment>,
    wake: Option<Moment>,
}

/// How long after much work memory is given back: by then all lists have been sent.
const TIDY_AFTER: Duration = Duration::from_secs(1);
/// As many changes at once are much work.
const MANY: usize = 1024;
/// How long a grant may lie where one came just before it: a crowd of calls does not wake the loop for each.
const GRANTS_TOGETHER: Duration = Duration::from_millis(5);
/// The same in a crowd. No kubelet admits as fast; whoever does has the processors for its calls, and devices that are granted
/// again meanwhile are judged once.
const CROWD_TOGETHER: Duration = Duration::from_millis(40);
/// As many grants in [`GRANTS_TOGETHER`] are a crowd.
const CROWD: usize = 32;

/// Runs until [`Command::Stop`]. The configuration has been read by the caller, who needs to know when it is bad.
///
/// # Errors
/// When the host gives no watches at all, or not the probe that is required; everything else is survived.
pub async fn run(options: NodeOptions, config: Config, io: FileIo, mut channels: Channels) -> Result<(), RunError> {
    let folder = KubeletFolder::below(&options.kubelet_dir);
    let mut watcher = Watcher::new()?;
    watcher.watch_uses(Watched::Groups, &options.root.at("/dev/vfio"));
    watcher.watch_folder(Watched::Cdevs, &options.root.at("/dev/vfio/devices"));
    watcher.watch_folder(Watched::Plugins, folder.path());
    let uevents = UeventSocket::open().map_err(|refused| warn!("{refused}")).ok();
    let follow = config.path().map(Follow::new).transpose();
    let follow = follow
        .map_err(|error| warn!("changes of the configuration are noticed by SIGHUP only: {error}"))
        .unwrap_or_default();
    let mut sources = Sources::new(io, &options.kubelet_dir, options.root.path());
    let clock = channels.desk.clock;
    let live = options.root.is_live();
    let mut holders = HolderWatch::new(Book::new(options.root.clone()), CensusTaker::from_proc(&options.root));
    let facts = FactsFile::new(&options.state_dir, options.keeper.clone());
    let mut host = HostReader::new(options.root, facts);
    let mut inventory = Inventory::default();
    inventory.be_patient(clock.now() + OWNERS_DUE);
    let mut keeper = options.keeper;
    let mut beside = !keeper.is_keeper();
    let marks = Marks::open(&options.state_dir, io, !beside, &mut inventory).await;
    let mut node = Node {
        inventory,
        config,
        kubelet: KubeletWatch::new(folder, channels.kubelet.clone(), Arc::clone(&channels.desk.board)),
        fences: Fences::default(),
        faults: HashSet::new(),
        unavailable: HashSet::new(),
        retries: Retries::default(),
        lists: Lists::default(),
        marks,
        nodes_moved: false,
        event_at: None,
        rescanning: false,
        correcting: false,
        tidy_at: None,
        awaits_ownership: false,
        rescan: options.rescan,
        next_rescan: clock.now() + options.rescan,
        next_grants: None,
        wake: None,
    };

    // The first list is already true: what the host has, who owns it and who has it open are read before anything is
    // registered.
    host.want_all();
    let mut probe_start = ProbeStart::begin(options.probe, live, keeper.clone());
    let first_look = async {
        // Events are kept from here on, and the look comes after.
        let probe = probe_start.soon().await?.map(|(probe, taker)| {
            holders.look_by(taker);
            probe
        });
        Ok::<_, RunError>((probe, timeout(FIRST_LOOK, holders.done()).await))
    };
    let first_document = timeout(FIRST_DOCUMENT, next_document(&mut channels.documents));
    let (read, reading, first_look, document) =
        tokio::join!(host.done(), sources.read(Moment::ZERO), first_look, async {
            if node.config.is_from_cr() { first_document.await.ok() } else { None }
        });
    let (probe, looked) = first_look?;
    if let Some(document) = document {
        node.config.take(document);
    }
    node.inventory.set_permit(Arc::clone(node.config.permit()));
    let board = Arc::clone(&channels.desk.board);
    board.node.reloads_changed.one();
    notes::configuration(&board, &node.config);
    node.report_rejected(&channels);
    node.host_read(read, &mut host, &board, clock.now());
    node.say_unavailable(&reading);
    notes::owners(&board, &reading);
    node.inventory.observed(&reading);
    if let Ok(looked) = looked {
        holders.looked(looked, &mut node.inventory, clock.now());
        notes::holders(&board, &holders);
    }
    notes::probe(&board, probe_start.absent());
    channels.desk.register.follow(node.inventory.ledger().youngest());
    node.kubelet.tidy();
    let ownership = OwnershipReader::new(sources, clock);
    let mut ears = Ears { uevents, watcher, follow, host, ownership, holders, probe, probe_start, channels };
    node.settle(&mut ears);
    notes::host(&board, &node.lists, node.faults.len());
    node.kubelet.look();
    node.summary();

    loop {
        ears.ownership.plan(node.awaits_ownership);
        let timer = [node.wake, node.fences.deadline(), node.retries.next(), node.next_grants, node.tidy_at]
            .into_iter()
            .flatten()
            .chain([node.next_rescan])
            .min();
        let timer = clock.instant(timer.unwrap_or(node.next_rescan)).into();
        tokio::select! {
            batch = next_uevents(&mut ears.uevents) => node.uevents(batch, &mut ears),
            started = ears.probe_start.done() => {
                if let Some((probe, taker)) = started? {
                    ears.holders.look_by(taker);
                    ears.probe = Some(probe);
                }
                notes::probe(&board, ears.probe_start.absent());
            }
            batch = next_probe(&mut ears.probe) => {
                if ears.probe.is_none() {
                    notes::probe(&board, Some("it can no longer be read: opens of groups are noticed by inotify"));
                }
                node.probed(&batch, &mut ears);
            }
            batch = ears.watcher.next() => node.watched(batch?, &mut ears),
            () = ears.channels.desk.granted.notified() => node.granted(&mut ears, clock.now()),
            Some(query) = ears.channels.fence.recv() => node.ask(query, &mut ears),
            Some(query) = ears.channels.queries.recv() => match query {
                Query::Ping(answer) => drop(answer.send(())),
                Query::Look(look) => ears.holders.ask(look),
                Query::Devices { others, answer } => {
                    ears.holders.ask(Look::Devices(others, node.besides_devices(), answer));
                }
                Query::DevicesAfter { after, others, answer } => {
                    let tracker = ears.holders.tracker();
                    drop(answer.send(piece(&node.inventory, tracker, others, Some(after), clock.now())));
                }
                Query::Mark(device, mark, answer) => drop(answer.send(node.mark(device, mark))),
            },
            looked = ears.holders.done() => {
                if ears.holders.looked(looked, &mut node.inventory, clock.now()) {
                    ears.ownership.want();
                }
                notes::holders(&board, &ears.holders);
            }
            read = ears.host.done() => {
                node.host_read(read, &mut ears.host, &board, clock.now());
                notes::host(&board, &node.lists, node.faults.len());
            }
            reading = ears.ownership.done() => {
                node.say_unavailable(&reading);
                notes::owners(&board, &reading);
                node.take_grants(&ears);
                if node.inventory.observed(&reading) {
                    ears.channels.desk.register.follow(node.inventory.ledger().youngest());
                }
                node.fences.owners_read(&node.inventory, reading.begun, clock.now());
            }
            () = changed(&mut ears.follow) => node.reload(&ears.channels).await,
            document = next_document(&mut ears.channels.documents) => {
                let permit = node.config.take(document);
                node.permitted(permit, &ears.channels);
            }
            () = keeper.elected(), if beside => {
                beside = false;
                node.marks.take_over(&mut node.inventory).await;
                if let Some(permit) = node.config.take_over().await {
                    node.permitted(Some(permit), &ears.channels);
                }
            }
            command = ears.channels.commands.recv() => match command {
                Some(Command::Reload) => {
                    node.reload(&ears.channels).await;
                    node.rescan(&mut ears, clock.now());
                }
                Some(Command::Stop) | None => return Ok(()),
            },
            () = sleep_until(timer) => node.timer(&mut ears, clock.now()),
        }
        node.settle(&mut ears);
    }
}

impl Node {
    /// Judges what has changed and tells everybody concerned.
    fn settle(&mut self, ears: &mut Ears) {
        self.take_grants(ears);
        self.inventory.happened(self.event_at);
        let mut outcome = self.inventory.settle(ears.channels.desk.clock.now());
        if !outcome.changed.is_empty() || !(ears.host.is_busy() || ears.holders.is_busy()) {
            self.event_at = None; // it is told, or nothing comes of it
        }
        let board = &ears.channels.desk.board;
        board.node.transitions.add(outcome.transitions.len() as u64);
        if std::mem::take(&mut self.correcting) {
            board.node.rescan_corrections.add(outcome.transitions.len() as u64);
        }
        announce(&outcome);
        self.report(&outcome, &ears.channels);
        if !outcome.transitions.is_empty() {
            self.awaits_ownership = self.inventory.awaits_ownership();
        }
        if outcome.transitions.len() >= MANY {
            self.tidy_at = Some(ears.channels.desk.clock.now() + TIDY_AFTER);
        }
        let opened = outcome.opened.clone();
        for resource in self.lists.open(std::mem::take(&mut outcome.opened), self.inventory.permit()) {
            // Nobody listens any more when the agent stops.
            let _ = ears.channels.opened.send(resource);
        }
        self.wake = outcome.wake;
        ears.channels.feed.settled(outcome, opened, &self.inventory, ears.holders.tracker());
        self.marks.keep(&self.inventory, None);
        self.fences.look(&self.inventory, ears.channels.desk.clock.now());
    }

    /// Notes what was answered to the kubelet since the last look; returns how many answers there were.
    fn take_grants(&mut self, ears: &Ears) -> usize {
        let mut taken = 0;
        while let Some(answered) = ears.channels.desk.register.take() {
            self.inventory.answered(&answered);
            taken += 1;
        }
        taken
    }

    /// Something was granted; more may follow at once, for which nobody wakes the loop.
    fn granted(&mut self, ears: &mut Ears, now: Moment) {
        ears.channels.desk.register.must_wake(); // awake it is
        ears.ownership.want();
        self.next_grants.get_or_insert(now + GRANTS_TOGETHER);
    }

    /// The time of the grants that came together is over: from the next one on the loop is woken again, unless there
    /// were more.
    fn grants_again(&mut self, ears: &mut Ears, now: Moment) {
        self.next_grants = None;
        let mut taken = self.take_grants(ears);
        if taken == 0 {
            ears.channels.desk.register.sleeps();
            taken = self.take_grants(ears); // what was noted just before
        }
        if taken >= CROWD {
            self.next_grants = Some(now + CROWD_TOGETHER);
            self.tidy_at = Some(now + TIDY_AFTER);
            ears.channels.desk.register.must_wake();
            ears.ownership.want_in_a_crowd();
        } else if taken > 0 {
            self.granted(ears, now);
        }
    }

    /// Changes what sticks to a device; `None` where nobody knows it.
    fn mark(&mut self, device: DeviceId, mark: Mark) -> Option<Marked> {
        let is_known = self.inventory.host().device(device).is_some()
            || self.inventory.ledger().of(device).next().is_some()
            || self.inventory.cordoned().chain(self.inventory.broken()).any(|marked| marked == device);
        let changed = match mark {
            _ if !is_known => return None,
            Mark::Cordon => self.inventory.cordon(device, true),
            Mark::Uncordon => self.inventory.cordon(device, false),
            Mark::Clear => self.inventory.cleared(device),
        };
        if changed {
            info!(%device, "{}", mark.done());
        }
        let (done, kept) = oneshot::channel();
        self.marks.keep(&self.inventory, Some(done));
        Some(Marked { changed, kept })
    }

    fn ask(&mut self, query: FenceQuery, ears: &mut Ears) {
        self.take_grants(ears);
        let now = ears.channels.desk.clock.now();
        if self.fences.ask(query, &self.inventory, now) {
            ears.ownership.want();
        }
    }

    fn timer(&mut self, ears: &mut Ears, now: Moment) {
        if self.tidy_at.is_some_and(|at| at <= now) {
            self.tidy_at = None;
            memory::give_back();
        }
        if self.next_grants.is_some_and(|at| at <= now) {
            self.grants_again(ears, now);
        }
        ears.host.want_devices(self.retries.take(now));
        if self.next_rescan <= now {
            self.rescanning = true;
            ears.channels.desk.board.node.rescans.one();
            self.rescan(ears, now);
        }
    }

    /// Looks at everything again.
    fn rescan(&mut self, ears: &mut Ears, now: Moment) {
        self.next_rescan = now + self.rescan;
        ears.watcher.recheck();
        if let Some(follow) = &mut ears.follow {
            follow.recheck();
        }
        self.kubelet.look();
        ears.host.want_all();
        ears.ownership.want();
        ears.holders.want();
    }

    async fn reload(&mut self, channels: &Channels) {
        let permit = self.config.reload().await;
        self.permitted(permit, channels);
    }

    /// The configuration was read again; `permit` is what it means now, where that is something else.
    fn permitted(&mut self, permit: Option<Arc<Permit>>, channels: &Channels) {
        let board = &channels.desk.board;
        let standing = self.config.standing();
        let counter = match (&standing, &permit) {
            (Standing::Kept(_), _) => &board.node.reloads_failed,
            (_, Some(_)) => &board.node.reloads_changed,
            (_, None) => &board.node.reloads_unchanged,
        };
        counter.one();
        notes::configuration(board, &self.config);
        self.report_rejected(channels);
        if let Some(permit) = permit {
            self.inventory.set_permit(permit);
        }
    }
}
