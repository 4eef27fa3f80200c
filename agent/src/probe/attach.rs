//! Attaching the programs, and detaching them when VFIO's modules go.

use super::{
    hooks::{Attachment, HOOKS, Hook, HookState, Place},
    layout::{KernelLayout, LayoutError},
    object_file::{self, ObjectError, chain},
    pins::Pins,
};
use aya::{
    Ebpf,
    programs::{
        KProbe, Program, ProgramError, RawTracePoint,
        kprobe::KProbeLinkId,
        links::{FdLink, PinnedLink},
        raw_trace_point::RawTracePointLinkId,
    },
};
use std::{
    io,
    path::{Path, PathBuf},
};
use tracing::{debug, warn};

/// The programs and what they are attached to.
pub(super) struct Attached {
    object: object_file::Object,
    btf: PathBuf,
    modules: PathBuf,
    links: Vec<Option<Link>>,
    states: Vec<HookState>,
    pins: Option<Pins>,
}

enum Link {
    Probe(KProbeLinkId),
    Tracepoint(RawTracePointLinkId),
    /// It outlives this process.
    Pinned(PinnedLink),
}

impl Attached {
    /// Loads every program; nothing is attached yet.
    pub(super) fn load(
        mut object: object_file::Object,
        layout: &KernelLayout,
        btf: &Path,
        modules: &Path,
        pins: Option<Pins>,
    ) -> Result<Self, ObjectError> {
        object.configure(&layout.config)?;
        let mut loaded: Vec<&str> = Vec::new();
        for hook in HOOKS {
            if !loaded.contains(&hook.program) {
                object.load(hook.program)?;
                loaded.push(hook.program);
            }
        }
        if let Some(pins) = &pins {
            let removed = pins.remove_stale();
            debug!(removed, "pinned hooks of modules that are gone");
        }
        let state =
            |hook: &Hook| HookState { program: hook.program, function: hook.function, attachment: Attachment::Waiting };
        Ok(Self {
            object,
            btf: btf.to_owned(),
            modules: modules.to_owned(),
            links: HOOKS.iter().map(|_| None).collect(),
            states: HOOKS.iter().map(state).collect(),
            pins,
        })
    }

    /// Everything that can be attached is: what other versions have pinned is no longer needed.
    pub(super) fn is_whole(&self) {
        if let Some(pins) = &self.pins {
            pins.remove_others();
        }
    }

    /// The state of each hook.
    pub(super) fn states(&self) -> &[HookState] {
        &self.states
    }

    /// Detaches what hangs on modules that are gone.
    pub(super) fn forget(&mut self, gone: &[String]) {
        for ((hook, link), state) in HOOKS.iter().zip(&mut self.links).zip(&mut self.states) {
            let Some(module) = hook.place.module() else { continue };
            if !gone.iter().any(|name| name == module) {
                continue;
            }
            state.attachment = Attachment::Waiting;
            // A probe on a module that is gone does nothing any more, so a failure to remove it changes nothing either.
            let Some(link) = link.take() else { continue };
            let _ = detach(&mut self.object.ebpf, hook, link);
        }
    }

    /// Reads the kernel's layout again and attaches what is not attached.
    pub(super) fn attach_again(&mut self) -> Result<KernelLayout, LayoutError> {
        let layout = KernelLayout::read(&self.btf)?;
        self.attach(&layout);
        Ok(layout)
    }

    /// Attaches what is not attached. Takes some milliseconds a hook, and up to a second in all on a slow machine.
    pub(super) fn attach(&mut self, layout: &KernelLayout) {
        if let Err(error) = self.object.configure(&layout.config) {
            for state in &mut self.states {
                state.attachment = Attachment::Failed(error.to_string());
            }
            return;
        }
        for ((hook, link), state) in HOOKS.iter().zip(&mut self.links).zip(&mut self.states) {
            if link.is_some() {
                continue;
            }
            if hook.place != Place::Tracepoint && !layout.has_vfio {
                // Without the offsets it would see nothing. The module's arrival is told.
                state.attachment = Attachment::Waiting;
                continue;
            }
            if hook.place == Place::DeviceNodes && !layout.has_device_nodes {
                state.attachment = Attachment::Absent;
                continue;
            }
            if let Some(pinned) = self.pins.as_ref().and_then(|pins| pins.link(hook)) {
                *link = Some(Link::Pinned(pinned));
                state.attachment = Attachment::Attached;
                continue;
            }
            state.attachment = match attach_and_pin(&mut self.object.ebpf, hook, self.pins.as_ref()) {
                Ok(attached) => {
                    *link = Some(attached);
                    Attachment::Attached
                }
                Err(error) if missing(&error) => match hook.place.module() {
                    // A module that is built in may have no folder; its functions are tried whenever a module comes.
                    Some(module) if !self.modules.join(module).is_dir() => Attachment::Waiting,
                    _ => Attachment::Absent,
                },
                Err(error) => Attachment::Failed(chain(&error)),
            };
        }
    }
}

/// Attaches the hook; where it cannot be pinned it ends with this process.
fn attach_and_pin(ebpf: &mut Ebpf, hook: &Hook, pins: Option<&Pins>) -> Result<Link, ProgramError> {
    let attached = attach(ebpf, hook)?;
    let Some(pins) = pins else { return Ok(attached) };
    match pin(ebpf, hook, attached, &pins.place(hook)) {
        Ok(pinned) => Ok(Link::Pinned(pinned)),
        Err(why) => {
            warn!(function = hook.function, program = hook.program, "a hook cannot be pinned: {why}");
            attach(ebpf, hook)
        }
    }
}

/// Why a hook cannot be pinned.
#[derive(Debug, thiserror::Error)]
enum Unpinned {
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Before 5.15 a kprobe is no link that could be pinned.
    #[error("this kernel is too old: {0}")]
    Link(#[from] aya::programs::links::LinkError),
    #[error("{}", chain(.0))]
    Pin(#[from] aya::pin::PinError),
}

fn pin(ebpf: &mut Ebpf, hook: &Hook, link: Link, place: &Path) -> Result<PinnedLink, Unpinned> {
    let program = ebpf.program_mut(hook.program).ok_or(ProgramError::NotLoaded)?;
    let link: FdLink = match (link, program) {
        (Link::Probe(link), Program::KProbe(program)) => program.take_link(link)?.try_into()?,
        (Link::Tracepoint(link), Program::RawTracePoint(program)) => program.take_link(link)?.into(),
        (Link::Pinned(link), _) => return Ok(link),
        _ => return Err(ProgramError::UnexpectedProgramType.into()),
    };
    Ok(link.pin(place)?)
}

fn attach(ebpf: &mut Ebpf, hook: &Hook) -> Result<Link, ProgramError> {
    let program = ebpf.program_mut(hook.program).ok_or(ProgramError::NotLoaded)?;
    match program {
        Program::KProbe(program) => probe(program, hook.place.module(), hook.function).map(Link::Probe),
        Program::RawTracePoint(program) => program.attach(hook.function).map(Link::Tracepoint),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Attaches to a function. `module:function` is exact; where the kernel does not know it in that form (the module is built
/// in), the function alone.
pub(super) fn probe(program: &mut KProbe, module: Option<&str>, function: &str) -> Result<KProbeLinkId, ProgramError> {
    if let Some(module) = module {
        match program.attach(format!("{module}:{function}"), 0) {
            Err(error) if missing(&error) => {}
            done => return done,
        }
    }
    program.attach(function, 0)
}

fn detach(ebpf: &mut Ebpf, hook: &Hook, link: Link) -> Result<(), ProgramError> {
    let program = ebpf.program_mut(hook.program).ok_or(ProgramError::NotLoaded)?;
    match (link, program) {
        // Its file is removed, and then the last descriptor.
        (Link::Pinned(link), _) => {
            drop(link.unpin());
            Ok(())
        }
        (Link::Probe(link), Program::KProbe(program)) => program.detach(link),
        (Link::Tracepoint(link), Program::RawTracePoint(program)) => RawTracePoint::detach(program, link),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Whether the kernel says that there is no such function or tracepoint.
fn missing(error: &ProgramError) -> bool {
    let ProgramError::SyscallError(call) = error else { return false };
    call.io_error.kind() == io::ErrorKind::NotFound
}
