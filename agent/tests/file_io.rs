//! Files are read alike through io_uring and through threads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests; a failure is the message"
)]

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use vfiod::io::{FileIo, IoMode, Runtime};

/// The outcome of a read, in a form that can be compared.
#[derive(PartialEq)]
enum Outcome {
    Content(Vec<u8>),
    Failed(io::ErrorKind, String),
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(content) => write!(f, "{} bytes", content.len()),
            Self::Failed(kind, text) => write!(f, "{kind:?}: {text}"),
        }
    }
}

fn read(mode: IoMode, path: &Path, limit: usize) -> Outcome {
    let (runtime, chosen) = Runtime::start(mode).unwrap();
    runtime.block_on(async {
        match tokio::time::timeout(Duration::from_secs(20), chosen.kind.read(path, limit)).await.expect("must not hang")
        {
            Ok(content) => Outcome::Content(content),
            Err(error) => Outcome::Failed(error.kind(), error.to_string()),
        }
    })
}

/// Reads both ways, insists that they agree, and returns what they agree on.
fn read_alike(path: &Path, limit: usize) -> Outcome {
    let plain = read(IoMode::Plain, path, limit);
    assert_eq!(read(IoMode::Uring, path, limit), plain, "{}", path.display());
    plain
}

fn kind(outcome: Outcome) -> io::ErrorKind {
    match outcome {
        Outcome::Failed(kind, _) => kind,
        Outcome::Content(content) => panic!("read {} bytes", content.len()),
    }
}

/// Where the host refuses io_uring there is nothing to compare. `VFIOD_NO_SKIP` makes that a failure.
fn ring_is_allowed() -> bool {
    match Runtime::start(IoMode::Uring) {
        Ok(_) => true,
        Err(refusal) => {
            assert!(std::env::var_os("VFIOD_NO_SKIP").is_none(), "{refusal}");
            eprintln!("SKIPPED: {refusal}");
            false
        }
    }
}

fn folder_with(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    (folder, path)
}

#[test]
fn whole_files_of_any_size_are_read() {
    if !ring_is_allowed() {
        return;
    }
    for size in [0, 1, 4096, 16 * 1024, 16 * 1024 + 1, 3_000_000] {
        let content: Vec<u8> = (0..size).map(|i: usize| (i % 251) as u8).collect();
        let (_folder, path) = folder_with("file", &content);
        assert_eq!(read_alike(&path, 4_000_000), Outcome::Content(content));
    }
}

#[test]
fn a_file_that_does_not_tell_its_size_is_read_to_its_end() {
    if !ring_is_allowed() {
        return;
    }
    let path = Path::new("/proc/cpuinfo");
    let Outcome::Content(content) = read(IoMode::Uring, path, 1 << 20) else { panic!("unreadable") };
    assert!(content.starts_with(b"processor"));
    assert_eq!(kind(read_alike(path, 8)), io::ErrorKind::FileTooLarge);
}

#[test]
fn the_limit_is_the_last_size_that_is_read() {
    if !ring_is_allowed() {
        return;
    }
    let (_folder, path) = folder_with("file", &[7; 100]);
    assert_eq!(read_alike(&path, 100), Outcome::Content(vec![7; 100]));
    assert_eq!(kind(read_alike(&path, 99)), io::ErrorKind::FileTooLarge);
}

#[test]
fn what_is_not_a_file_is_refused_without_waiting() {
    if !ring_is_allowed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(kind(read_alike(folder.path(), 10)), io::ErrorKind::IsADirectory);
    assert_eq!(kind(read_alike(&folder.path().join("absent"), 10)), io::ErrorKind::NotFound);
    assert_eq!(kind(read_alike(Path::new(""), 10)), io::ErrorKind::NotFound);
    for mode in [IoMode::Plain, IoMode::Uring] {
        assert_eq!(kind(read(mode, Path::new("a\0b"), 10)), io::ErrorKind::InvalidInput, "{mode}");
    }
    assert_eq!(kind(read_alike(Path::new("/dev/zero"), 10)), io::ErrorKind::InvalidInput);

    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(kind(read_alike(&pipe, 10)), io::ErrorKind::InvalidInput);

    let link = folder.path().join("loop");
    std::os::unix::fs::symlink(&link, &link).unwrap();
    let Outcome::Failed(_, reason) = read_alike(&link, 10) else { panic!("read a loop") };
    assert!(reason.contains("symbolic links"), "{reason}");
}

#[test]
fn symlinks_are_followed_as_a_configmap_lays_them() {
    if !ring_is_allowed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("..2026_08_01")).unwrap();
    fs::write(folder.path().join("..2026_08_01/vfiod.yaml"), "a: 1").unwrap();
    std::os::unix::fs::symlink("..2026_08_01", folder.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/vfiod.yaml", folder.path().join("vfiod.yaml")).unwrap();
    assert_eq!(read_alike(&folder.path().join("vfiod.yaml"), 10), Outcome::Content(b"a: 1".to_vec()));
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    if !ring_is_allowed() {
        return;
    }
    let (folder, path) = folder_with("secret", b"x");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = std::thread::spawn(move || {
        if rustix::process::getuid().is_root() {
            // This thread alone becomes nobody, and with it the threads that it starts.
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        read_alike(&path, 10)
    });
    assert_eq!(kind(outcome.join().unwrap()), io::ErrorKind::PermissionDenied);
}

#[test]
fn many_reads_at_once_do_not_mix_their_content() {
    for mode in [IoMode::Auto, IoMode::Plain] {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, chosen) = Runtime::start(mode).unwrap();
        runtime.block_on(async {
            let mut reads = Vec::new();
            for number in 0..600_u32 {
                let path = folder.path().join(number.to_string());
                fs::write(&path, number.to_string().repeat(100)).unwrap();
                reads.push(tokio::task::spawn_local(async move { chosen.kind.read(&path, 10_000).await }));
            }
            for (number, read) in reads.into_iter().enumerate() {
                assert_eq!(read.await.unwrap().unwrap(), number.to_string().repeat(100).into_bytes(), "{mode}");
            }
        });
    }
}

#[test]
fn plain_never_becomes_a_ring() {
    let (_, chosen) = Runtime::start(IoMode::Plain).unwrap();
    assert_eq!((chosen.kind, chosen.reason), (FileIo::Plain, None));
}
