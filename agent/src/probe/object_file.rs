//! The probe's object and loading it.

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader, Pod, include_bytes_aligned,
    maps::{Array, Map, MapData, MapError},
    programs::{Program, ProgramError},
};
use vfiod_abi::{Config, Plain, maps};

/// What `cargo xtask ebpf` made of `agent-ebpf` for this machine, and its record.
struct Made {
    object: &'static [u8],
    record: &'static str,
}

macro_rules! made {
    ($architecture:literal) => {
        Some(Made {
            object: include_bytes_aligned!(made!($architecture, ".o")),
            record: include_str!(made!($architecture, ".record")),
        })
    };
    ($architecture:literal, $kind:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../agent-ebpf/object/", $architecture, $kind)
    };
}

#[cfg(target_arch = "x86_64")]
static MADE: Option<Made> = made!("x86_64");
#[cfg(target_arch = "aarch64")]
static MADE: Option<Made> = made!("aarch64");
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static MADE: Option<Made> = None;

/// Says what the object is, as `cargo xtask ebpf` has written it; nothing where there is no object for this machine.
pub(super) fn record() -> &'static str {
    MADE.as_ref().map_or("", |made| made.record)
}

/// Why the object could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The kernel refuses the object or one of its maps.
    #[error("the kernel refuses the probe: {}", chain(.0))]
    Load(#[from] EbpfError),
    /// The kernel refuses one program.
    #[error("the kernel refuses the program {program}: {}", chain(.error))]
    Program {
        /// Its name in the object.
        program: String,
        /// Why.
        error: ProgramError,
    },
    /// A map cannot be used.
    #[error("the map {map} cannot be used: {error}")]
    Map {
        /// Its name in the object.
        map: &'static str,
        /// Why.
        error: MapError,
    },
    /// The object lacks a part: it was built from other sources than this program.
    #[error("the probe's object has no {0}; build both from one source")]
    Missing(&'static str),
    /// A thread cannot be started, or has ended badly.
    #[error("a thread of the probe cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    /// There is no object for this machine.
    #[error("vfiod has no probe for {} processors, only for x86_64 and aarch64", std::env::consts::ARCH)]
    Architecture,
}

impl ObjectError {
    /// Whether the kernel, or a policy, does not let this process load programs at all.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self.errno(), Some(libc::EPERM | libc::ENOSYS))
    }

    /// The number of the error that the kernel gave, where it gave one.
    pub(super) fn errno(&self) -> Option<i32> {
        let mut error: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(cause) = error {
            if let Some(io) = cause.downcast_ref::<std::io::Error>() {
                return io.raw_os_error();
            }
            error = match cause.downcast_ref::<Self>() {
                Some(Self::Load(inner)) => Some(inner),
                Some(Self::Program { error, .. }) => Some(error),
                Some(Self::Map { error, .. }) => Some(error),
                _ => cause.source(),
            };
        }
        None
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    // The verifier's log is long; its last lines say what it refused.
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// A structure of the interface as a value of a map.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(super) struct Value<T>(pub(super) T);

// SAFETY: `Plain` promises C's layout without padding, and every bit pattern is a value.
unsafe impl<T: Plain> Pod for Value<T> {}

/// The object, loaded once: its maps exist, its programs are loaded one by one.
pub(super) struct Object {
    pub(super) ebpf: Ebpf,
    config: Array<MapData, Value<Config>>,
}

impl Object {
    /// Creates the maps. `ring_bytes` is the size of the ring buffer: a power of two, at least a page.
    pub(super) fn open(loader: &mut EbpfLoader<'_>, ring_bytes: u32) -> Result<Self, ObjectError> {
        Self::of(loader, MADE.as_ref().ok_or(ObjectError::Architecture)?.object, ring_bytes)
    }

    /// The same, of another build of the object.
    pub(super) fn of(loader: &mut EbpfLoader<'_>, bytes: &[u8], ring_bytes: u32) -> Result<Self, ObjectError> {
        let mut ebpf = loader.map_max_entries(maps::EVENTS, ring_bytes).load(bytes)?;
        let config = array(&mut ebpf, maps::CONFIG)?;
        Ok(Self { ebpf, config })
    }

    /// Tells the programs what this kernel is like.
    pub(super) fn configure(&mut self, config: &Config) -> Result<(), ObjectError> {
        self.config.set(0, Value(*config), 0).map_err(|error| ObjectError::Map { map: maps::CONFIG, error })
    }

    /// Has the kernel verify and keep one program.
    pub(super) fn load(&mut self, name: &'static str) -> Result<(), ObjectError> {
        let program = self.ebpf.program_mut(name).ok_or(ObjectError::Missing(name))?;
        load(program).map_err(|error| ObjectError::Program { program: name.to_owned(), error })
    }
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::KProbe(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Has the running kernel verify every program of an object, without attaching any; names them with the number of
/// instructions that the verifier looked at. VFIO need not be there, nor kprobes.
///
/// # Errors
/// The first program that the kernel refuses, with the end of the verifier's log.
pub fn verify(object: &[u8]) -> Result<Vec<(String, u32)>, ObjectError> {
    let btf = Btf::from_sys_fs().map_err(|error| ObjectError::Load(error.into()))?;
    let mut loader = EbpfLoader::new();
    let mut object = Object::of(loader.btf(None), object, 4096)?;
    let mut verified = Vec::new();
    for (name, program) in object.ebpf.programs_mut() {
        let refused = |error| ObjectError::Program { program: name.to_owned(), error };
        let loaded = match &mut *program {
            Program::Iter(program) => program.load(FILES, &btf),
            program => load(program),
        };
        loaded.map_err(refused)?;
        let info = program.info().map_err(refused)?;
        verified.push((name.to_owned(), info.verified_instruction_count().unwrap_or(0)));
    }
    verified.sort();
    Ok(verified)
}

/// What the iterator goes through.
pub(super) const FILES: &str = "task_file";

/// A map with one kind of structure in it.
pub(super) fn array<T: Plain>(ebpf: &mut Ebpf, name: &'static str) -> Result<Array<MapData, Value<T>>, ObjectError> {
    Array::try_from(map(ebpf, name)?).map_err(|error| ObjectError::Map { map: name, error })
}

/// Takes a map out of the object.
pub(super) fn map(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, ObjectError> {
    ebpf.take_map(name).ok_or(ObjectError::Missing(name))
}
