//! `--io` decides whether the process has a ring. One test, because all threads of a process share what it looks at.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests; a failure is the message"
)]

use std::path::Path;
use vfiod::io::{FileIo, IoMode, Runtime, StartError, ring_submissions};

fn read_something(runtime: &Runtime, kind: FileIo) {
    runtime.block_on(async {
        let own = kind.read(Path::new("/proc/self/status"), 1 << 20).await.unwrap();
        assert!(own.starts_with(b"Name:"));
    });
}

#[test]
fn submissions_are_counted_under_uring_and_there_is_no_ring_under_plain() {
    let pid = std::process::id();
    let (plain, chosen) = Runtime::start(IoMode::Plain).unwrap();
    read_something(&plain, chosen.kind);
    assert_eq!(ring_submissions(pid).unwrap(), None);

    match Runtime::start(IoMode::Uring) {
        Ok((ring, chosen)) => {
            // Its own, and that of the thread that reads files and has just proved that it can.
            let before = ring_submissions(pid).unwrap().expect("a ring");
            read_something(&ring, chosen.kind);
            let after = ring_submissions(pid).unwrap().expect("a ring");
            // statx, open, two reads, close.
            assert!(after >= before + 5, "{before} then {after}");
        }
        Err(refusal) => {
            assert!(std::env::var_os("VFIOD_NO_SKIP").is_none(), "{refusal}");
            eprintln!("SKIPPED the half with a ring: {refusal}");
        }
    }
    forbidden_rings_fall_back();
    let ended = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while ring_submissions(pid).unwrap().is_some() {
        assert!(std::time::Instant::now() < ended, "rings end with their runtime, and when nothing is read");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// What a container's seccomp profile does, on a thread of its own.
fn forbidden_rings_fall_back() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        std::thread::spawn(move || {
            forbid_io_uring(errno);
            let Err(StartError::Refused(refusal)) = Runtime::start(IoMode::Uring).map(|_| ()) else {
                panic!("--io uring must fail")
            };
            assert!(refusal.to_string().contains("seccomp"), "{refusal}");

            let (runtime, chosen) = Runtime::start(IoMode::Auto).unwrap();
            assert_eq!(chosen.kind, FileIo::Plain);
            assert!(chosen.reason.unwrap().contains("seccomp"));
            read_something(&runtime, chosen.kind);
        })
        .join()
        .unwrap();
    }
}

/// Makes `io_uring_setup` fail with `errno` on this thread, and on those it starts.
fn forbid_io_uring(errno: i32) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load_number = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0);
    let mut is_setup = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_io_uring_setup as u32);
    is_setup.jf = 1;
    let fail = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32);
    let allow = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW);
    let mut filter = [load_number, is_setup, fail, allow];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    rustix::thread::set_no_new_privs(true).unwrap();
    // SAFETY: the program and its four instructions live through the call, which copies them; it binds this thread only.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
