//! The event loop of the reactor thread: on io_uring where the host allows it, on epoll elsewhere.

use super::FileIo;
use std::{fmt, fs, future::Future, io, path::Path};
use tokio::task::LocalSet;

/// Which event loop is wanted (`--io`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum IoMode {
    /// io_uring where it is allowed, else plain.
    #[default]
    Auto,
    /// io_uring, or fail.
    Uring,
    /// epoll and threads; no ring is created.
    Plain,
}

/// What was chosen, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenIo {
    /// How files are read.
    pub kind: FileIo,
    /// Why io_uring is not used although `auto` would have preferred it.
    pub reason: Option<String>,
}

/// Why the event loop did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `--io uring`, and the host refuses.
    #[error("--io uring: {0}; or start with --io auto or --io plain")]
    Refused(Refusal),
    /// Not even epoll works.
    #[error("cannot start the event loop: {0}")]
    EventLoop(#[source] io::Error),
}

/// Why io_uring cannot be used here, and what would allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    cause: String,
    remedy: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring is not available: {}; {}", self.cause, self.remedy)
    }
}

impl fmt::Display for IoMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Plain => "plain",
        })
    }
}

/// The event loop of one thread: it is started, used and dropped on that thread.
///
/// Futures need not be `Send`, and may call `tokio::task::spawn_local` and use `AsyncFd`, in either mode.
pub struct Runtime {
    event_loop: EventLoop,
}

enum EventLoop {
    Uring(tokio_uring::Runtime),
    Plain { tokio: tokio::runtime::Runtime, local: LocalSet },
}

impl Runtime {
    /// Starts the event loop that `mode` asks for, and says which one it became.
    ///
    /// # Errors
    /// [`StartError::Refused`] when `mode` insists on io_uring and the host refuses it.
    pub fn start(mode: IoMode) -> Result<(Self, ChosenIo), StartError> {
        let reason = match mode {
            IoMode::Plain => None,
            IoMode::Auto | IoMode::Uring => match start_uring() {
                Ok(runtime) => {
                    let chosen = ChosenIo { kind: FileIo::Uring, reason: None };
                    return Ok((Self { event_loop: EventLoop::Uring(runtime) }, chosen));
                }
                Err(refusal) if mode == IoMode::Uring => return Err(StartError::Refused(refusal)),
                Err(refusal) => Some(refusal.to_string()),
            },
        };
        let tokio =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::EventLoop)?;
        let event_loop = EventLoop::Plain { tokio, local: LocalSet::new() };
        Ok((Self { event_loop }, ChosenIo { kind: FileIo::Plain, reason }))
    }

    /// Runs `future` to its end. Tasks that it spawned go on with the next call.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match &self.event_loop {
            EventLoop::Uring(runtime) => runtime.block_on(future),
            EventLoop::Plain { tokio, local } => local.block_on(tokio, future),
        }
    }
}

/// A ring that could be created can still refuse operations (an old kernel, a security module), so one file is read.
fn start_uring() -> Result<tokio_uring::Runtime, Refusal> {
    // On failure tokio-uring leaks the three descriptors of its half-built runtime; that happens once in a process.
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder()).map_err(|error| refusal(&error))?;
    match runtime.block_on(FileIo::Uring.read(Path::new("/proc/self/status"), 64 * 1024)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Refusal {
            cause: format!("the ring cannot read a file ({error})"),
            remedy: "a kernel of 5.10 or later is needed, and a security policy that allows it",
        }),
        _ => Ok(runtime),
    }
}

fn refusal(error: &io::Error) -> Refusal {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    let filtered = fs::read_to_string("/proc/thread-self/status")
        .is_ok_and(|status| status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])));
    explain(error, disabled.as_deref().map(str::trim), filtered)
}

/// Tells apart the ways in which a host forbids io_uring (kernel: `io_uring/io_uring.c`, `io_uring_allowed`;
/// `Documentation/admin-guide/sysctl/kernel.rst`, `io_uring_disabled`).
fn explain(error: &io::Error, disabled: Option<&str>, filtered: bool) -> Refusal {
    let seccomp = "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile";
    let (cause, remedy) = match (error.raw_os_error(), disabled) {
        (Some(libc::EPERM), Some(value @ ("1" | "2"))) => {
            (format!("kernel.io_uring_disabled is {value}"), "set the sysctl kernel.io_uring_disabled to 0")
        }
        (Some(libc::EPERM | libc::ENOSYS | libc::EACCES), _) if filtered => {
            (format!("the seccomp profile of this process forbids it ({error})"), seccomp)
        }
        (Some(libc::ENOSYS), _) => {
            ("this kernel is built without it".to_owned(), "a kernel with CONFIG_IO_URING is needed")
        }
        (Some(libc::ENOMEM), _) => (
            format!("the memory for its queues is refused ({error})"),
            "raise the limit of locked memory (RLIMIT_MEMLOCK)",
        ),
        _ => (error.to_string(), "look for a security policy that forbids io_uring"),
    };
    Refusal { cause, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(errno: i32, disabled: Option<&str>, filtered: bool) -> String {
        explain(&io::Error::from_raw_os_error(errno), disabled, filtered).to_string()
    }

    #[test]
    fn each_way_of_forbidding_io_uring_is_named_with_its_remedy() {
        let sysctl = explained(libc::EPERM, Some("2"), true);
        assert!(sysctl.contains("kernel.io_uring_disabled is 2") && sysctl.contains("to 0"), "{sysctl}");
        for errno in [libc::EPERM, libc::ENOSYS] {
            let seccomp = explained(errno, Some("0"), true);
            assert!(seccomp.contains("seccomp") && seccomp.contains("io_uring_setup"), "{seccomp}");
        }
        let kernel = explained(libc::ENOSYS, None, false);
        assert!(kernel.contains("CONFIG_IO_URING"), "{kernel}");
        let memory = explained(libc::ENOMEM, Some("0"), false);
        assert!(memory.contains("RLIMIT_MEMLOCK"), "{memory}");
    }

    #[test]
    fn tasks_that_stay_on_their_thread_run_in_both_modes() {
        for mode in [IoMode::Auto, IoMode::Plain] {
            let (runtime, _) = Runtime::start(mode).unwrap();
            let shared = std::rc::Rc::new(std::cell::Cell::new(1));
            let theirs = shared.clone();
            let sum = runtime.block_on(async move {
                let task = tokio::task::spawn_local(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                    theirs.set(theirs.get() + 1);
                });
                task.await.unwrap();
                shared.get()
            });
            assert_eq!(sum, 2, "{mode}");
        }
    }
}
