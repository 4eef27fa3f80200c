//! Loading the probe: everything that takes long, so that it can be done on a thread of its own.

use super::{
    Absent, CensusTaker, Probe, ProbeMode,
    attach::Attached,
    capabilities::Grant,
    clock::boot_shift_ns,
    layout::{BTF, KernelLayout, LayoutError},
    lookup::Questions,
    object_file::{self, ObjectError, Value, map},
    pins::{DEFAULT_PINS, PinError, Pins},
    preflight::Host,
};
use arc_swap::ArcSwap;
use aya::{
    Btf, EbpfLoader, VerifierLogLevel,
    maps::{MapData, PerCpuArray, RingBuf},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tracing::{debug, info, warn};
use vfiod_abi::{Counters, maps};

/// How the probe is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Whether it is wanted.
    pub mode: ProbeMode,
    /// The size of the ring buffer of events in bytes: a power of two, at least a page. An event takes 136.
    pub ring_bytes: u32,
    /// The folder in a BPF file system where it is pinned, so that it outlives this process; none for a probe that does not.
    pub pin: Option<PathBuf>,
    /// Whether another vfiod keeps the state of this host: then the pins are that one's, locked or not.
    pub beside: bool,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { mode: ProbeMode::Auto, ring_bytes: 256 * 1024, pin: None, beside: false }
    }
}

/// A ring for programs that hardly tell anything.
const SMALL_RING: u32 = 4096;
/// Where the kernel lists its modules.
const MODULES: &str = "/sys/module";

/// The probe in the kernel, loaded and attached: its events are kept, and nobody takes them yet.
pub struct Loaded {
    pub(super) ring: RingBuf<MapData>,
    pub(super) counters: PerCpuArray<MapData, Value<Counters>>,
    pub(super) questions: Questions,
    pub(super) layout: KernelLayout,
    pub(super) shared: Arc<ArcSwap<KernelLayout>>,
    pub(super) attached: Attached,
    pub(super) taker: CensusTaker,
    pub(super) grant: Grant,
    pub(super) shift_ns: i64,
    pub(super) inherited: bool,
    waits_for_pins: bool,
}

impl Loaded {
    /// Loads the probe and attaches it; blocks for some 100 ms. Events are kept from here on, so the census comes after.
    ///
    /// # Errors
    /// [`Absent`]: everything that stands in the way, each thing with its remedy.
    pub fn load(options: &ProbeOptions) -> Result<Self, Absent> {
        if options.mode == ProbeMode::Off {
            return Err(Absent::Off);
        }
        let grant = Host::this().check().map_err(Absent::Missing)?;
        Self::load_with(options, grant).map_err(Absent::from)
    }

    /// Takes its events from here on. Needs a tokio runtime with I/O and time, of either mode, on this thread.
    ///
    /// # Errors
    /// [`Absent`] when the event loop does not take the probe's descriptor.
    pub fn follow(self) -> Result<(Probe, CensusTaker), Absent> {
        let unwatched = |error| {
            Absent::one(format!("the probe's events cannot be waited for: {error}"), "allow epoll to this process")
        };
        Probe::of(self).map_err(unwatched)
    }

    /// The capabilities that were used.
    #[must_use]
    pub const fn grant(&self) -> Grant {
        self.grant
    }

    /// Whether it should be pinned, and is not because another vfiod owns the pins.
    #[must_use]
    pub const fn waits_for_pins(&self) -> bool {
        self.waits_for_pins
    }

    fn load_with(options: &ProbeOptions, grant: Grant) -> Result<Self, StartError> {
        let begun = Instant::now();
        let Ground { mut layout, shared, shift_ns, btf, mut loader } = Ground::read()?;
        let read = begun.elapsed();
        let questions = Questions::load(&mut loader, SMALL_RING, &layout.config)?;
        let taker = CensusTaker::load(&mut loader, &btf, SMALL_RING, Arc::clone(&shared), grant, shift_ns)?;
        let (pins, waits_for_pins) = match &options.pin {
            Some(folder) => pins(folder, options),
            None => {
                Pins::sweep(Path::new(DEFAULT_PINS));
                (None, false)
            }
        };
        let inherited = pins.as_ref().is_some_and(Pins::are_inherited);
        let (mut object, pins) = open(&mut loader, options.ring_bytes, pins)?;
        let ring = RingBuf::try_from(map(&mut object.ebpf, maps::EVENTS)?)
            .map_err(|error| ObjectError::Map { map: maps::EVENTS, error })?;
        let counters = PerCpuArray::try_from(map(&mut object.ebpf, maps::COUNTERS)?)
            .map_err(|error| ObjectError::Map { map: maps::COUNTERS, error })?;
        let inherited = inherited && pins.is_some();
        let mut attached = Attached::load(object, &layout, Path::new(BTF), Path::new(MODULES), pins)?;
        let verified = begun.elapsed();
        attached.attach(&layout);
        if !layout.has_vfio {
            // From here on the arrival of its modules is told; they may have come just before.
            layout = attached.attach_again()?;
            shared.store(Arc::new(layout));
        }
        attached.is_whole();
        let took = begun.elapsed();
        let (verified, attached_in) = (verified.saturating_sub(read), took.saturating_sub(verified));
        debug!(types_read = ?read, ?verified, attached = ?attached_in, "the steps of loading the kernel probe");
        info!(?took, capabilities = %grant, "the kernel probe is loaded");
        Ok(Self {
            ring,
            counters,
            questions,
            layout,
            shared,
            attached,
            taker,
            grant,
            shift_ns,
            inherited,
            waits_for_pins,
        })
    }
}

/// The pins, if they can be had; and whether another vfiod has them.
fn pins(folder: &Path, options: &ProbeOptions) -> (Option<Pins>, bool) {
    if options.beside {
        info!(
            "another vfiod keeps the state, and with it the pins in {}; the kernel probe runs unpinned beside it and is \
             pinned when that one has ended",
            folder.display()
        );
        return (None, true);
    }
    match Pins::take(folder, options.ring_bytes) {
        Ok(pins) => (Some(pins), false),
        Err(error @ PinError::Busy(_)) => {
            info!("{error}; the kernel probe runs unpinned beside it and is pinned when that one has ended");
            (None, true)
        }
        Err(error) => {
            warn!("{error}. The kernel probe runs unpinned: it ends with this process");
            (None, false)
        }
    }
}

/// The object, with pinned maps where that is possible.
fn open(
    loader: &mut EbpfLoader<'_>,
    ring_bytes: u32,
    pins: Option<Pins>,
) -> Result<(object_file::Object, Option<Pins>), ObjectError> {
    let Some(pins) = pins else { return Ok((object_file::Object::open(loader, ring_bytes)?, None)) };
    pins.prepare(loader);
    let refused = match object_file::Object::open(loader, ring_bytes) {
        Ok(object) => match pins.missing_map() {
            None => return Ok((object, Some(pins))),
            Some(map) => ObjectError::Missing(map),
        },
        Err(error) => error,
    };
    warn!("--pin: {refused}. The kernel probe runs unpinned: it ends with this process");
    pins.give_up();
    let mut loader = EbpfLoader::new();
    loader.btf(None).verifier_log_level(VerifierLogLevel::DISABLE);
    Ok((object_file::Object::open(&mut loader, ring_bytes)?, None))
}

/// How long the steps take that come before hooks are attached.
#[derive(Debug, Clone, Copy)]
pub struct Rehearsal {
    /// Reading the kernel's types.
    pub types: Duration,
    /// Having the kernel verify all programs, as often as vfiod has it do so.
    pub verified: Duration,
}

impl Rehearsal {
    /// Loads the probe as vfiod does, and lets go of it before anything is attached: VFIO need not be there, nor kprobes.
    ///
    /// # Errors
    /// As [`Loaded::load`], which looks at what is missing first.
    pub fn take() -> Result<Self, Absent> {
        let rehearse = || {
            let begun = Instant::now();
            let Ground { layout, shared, shift_ns, btf, mut loader } = Ground::read()?;
            let types = begun.elapsed();
            let grant = Grant::SysAdmin;
            let _questions = Questions::load(&mut loader, SMALL_RING, &layout.config)?;
            let _taker = CensusTaker::load(&mut loader, &btf, SMALL_RING, shared, grant, shift_ns)?;
            let object = object_file::Object::open(&mut loader, ProbeOptions::default().ring_bytes)?;
            let _attached = Attached::load(object, &layout, Path::new(BTF), Path::new(MODULES), None)?;
            Ok::<_, StartError>(Self { types, verified: begun.elapsed().saturating_sub(types) })
        };
        rehearse().map_err(Absent::from)
    }
}

impl CensusTaker {
    /// Takes the census from the kernel's own tables, without a probe that goes on: nothing is attached, for one look.
    /// Blocks for some 100 ms.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub fn from_kernel() -> Result<Self, Absent> {
        let grant = Host::this().check().map_err(Absent::Missing)?;
        let load = || {
            let Ground { shared, shift_ns, btf, mut loader, .. } = Ground::read()?;
            Ok::<_, StartError>(Self::load(&mut loader, &btf, SMALL_RING, shared, grant, shift_ns)?)
        };
        load().map_err(Absent::from)
    }
}

/// What everything is loaded upon.
struct Ground {
    layout: KernelLayout,
    shared: Arc<ArcSwap<KernelLayout>>,
    shift_ns: i64,
    btf: Btf,
    loader: EbpfLoader<'static>,
}

impl Ground {
    /// Reads the kernel's types: for the layout, for the iterator, and because the loader does so by itself. That is most of what
    /// starting the probe takes, so it is done at once.
    fn read() -> Result<Self, StartError> {
        let thread = || thread::Builder::new().name("vfiod-types".to_owned());
        let (layout, btf, mut loader) = thread::scope(|scope| {
            let types = thread().spawn_scoped(scope, Btf::from_sys_fs).map_err(ObjectError::Thread)?;
            let loader = thread().spawn_scoped(scope, EbpfLoader::new).map_err(ObjectError::Thread)?;
            let layout = KernelLayout::read(Path::new(BTF))?;
            let ended = |_| ObjectError::Thread(io::Error::other("it ended badly"));
            let types = types.join().map_err(ended)?.map_err(|error| ObjectError::Load(error.into()))?;
            Ok::<_, StartError>((layout, types, loader.join().map_err(ended)?))
        })?;
        // The programs come without relocations, so the loader needs no types of the kernel.
        loader.btf(None).verifier_log_level(VerifierLogLevel::DISABLE);
        let shared = Arc::new(ArcSwap::from_pointee(layout));
        Ok(Self { layout, shared, shift_ns: boot_shift_ns(), btf, loader })
    }
}

impl From<StartError> for Absent {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Layout(error) => Self::one(error.to_string(), "report this kernel to vfiod's maintainers"),
            StartError::Object(error) => {
                let remedy = remedy(&error);
                Self::one(error.to_string(), remedy)
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Object(#[from] ObjectError),
}

fn remedy(error: &ObjectError) -> &'static str {
    match error.errno() {
        None if matches!(error, ObjectError::Architecture) => {
            "run vfiod with `--probe off`: it then looks into /proc, which knows less"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "look for a security policy (seccomp, SELinux, AppArmor) that forbids bpf(2), and give vfiod its \
             capabilities in the host's user namespace"
        }
        Some(libc::EINVAL) => "look whether the kernel is locked down (lockdown=confidentiality)",
        _ => "report this kernel to vfiod's maintainers",
    }
}
