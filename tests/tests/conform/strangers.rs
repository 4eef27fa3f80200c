//! What somebody sees who points it at the wrong thing.

use super::bench::conform;
use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    process::Output,
    thread,
};
use tempfile::TempDir;

/// Exit code when there was nothing to check.
const NOTHING: Option<i32> = Some(5);

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_socket_that_is_missing_or_none_or_abandoned_is_named_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let (missing, file, abandoned) =
        (folder.path().join("missing"), folder.path().join("file"), folder.path().join("abandoned"));
    fs::write(&file, "").unwrap();
    drop(UnixListener::bind(&abandoned).unwrap());
    for (path, reason) in
        [(missing, "no such file"), (file, "this is not a socket"), (abandoned, "nobody listens on it")]
    {
        let output = conform(&[path.to_str().unwrap()]);
        assert_eq!(output.status.code(), NOTHING);
        let told = stderr(&output);
        assert!(told.contains(path.to_str().unwrap()) && told.contains(reason), "{told}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_socket_that_speaks_something_else_or_nothing_is_no_plugin() {
    let folder = TempDir::new().unwrap();
    let (http, silent) = (folder.path().join("http"), folder.path().join("silent"));
    let listener = UnixListener::bind(&http).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let _listens_and_says_nothing = UnixListener::bind(&silent).unwrap();
    for path in [http, silent] {
        let output = conform(&[path.to_str().unwrap(), "--timeout", "1s"]);
        assert_eq!(output.status.code(), NOTHING);
        assert!(stderr(&output).contains("does not answer as a device plugin"), "{}", stderr(&output));
    }
}

#[test]
fn a_command_that_ends_at_once_is_told_with_its_last_words_once() {
    let output = conform(&["--command", "echo cannot find my card >&2; exit 7"]);
    assert_eq!(output.status.code(), NOTHING);
    let told = stderr(&output);
    assert!(told.contains("exit status: 7"), "{told}");
    assert_eq!(told.matches("cannot find my card").count(), 1, "{told}");
}

#[test]
fn a_command_that_never_registers_is_told_where_it_was_expected() {
    let output = conform(&["--command", "exec sleep 100", "--timeout", "200ms"]);
    assert_eq!(output.status.code(), NOTHING);
    assert!(stderr(&output).contains("DEVICE_PLUGIN_DIR"), "{}", stderr(&output));
}

#[test]
fn a_plugin_folder_with_something_in_it_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let precious = folder.path().join("kubelet.sock");
    fs::write(&precious, "").unwrap();
    let output = conform(&["--command", "true", "--plugin-dir", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), NOTHING);
    assert!(stderr(&output).contains("not empty") && precious.exists(), "{}", stderr(&output));
}

#[test]
fn neither_target_nor_both_nor_half_a_pair_of_hooks_nor_an_unknown_check_is_usage() {
    for arguments in [
        &[][..],
        &["x", "--command", "y"],
        &["x", "--break", "y"],
        &["x", "--skip", "list.nothing"],
        &["x", "--timeout", "0s"],
    ] {
        assert_eq!(conform(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
