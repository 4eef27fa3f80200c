use super::*;
use crate::io::{IoMode, Runtime};
use std::{fs, os::unix::fs::symlink, time::Duration};
use tempfile::TempDir;

/// Runs a scenario in both modes, each on a fresh folder.
fn in_both_modes(scenario: impl AsyncFn(&Path)) {
    for mode in [IoMode::Auto, IoMode::Plain] {
        let folder = TempDir::new().unwrap();
        let (runtime, _) = Runtime::start(mode).unwrap();
        runtime.block_on(scenario(folder.path()));
    }
}

fn change(name: &str, kind: ChangeKind) -> Change<u8> {
    Change { key: 1, name: Some(name.into()), kind }
}

fn of_itself(kind: ChangeKind) -> Change<u8> {
    Change { key: 1, name: None, kind }
}

/// Takes batches until `wanted` has been seen, and returns all that was seen.
async fn until(watcher: &mut Watcher<u8>, wanted: Change<u8>) -> Vec<Change<u8>> {
    let mut seen = Vec::new();
    while !seen.contains(&wanted) {
        let next = tokio::time::timeout(Duration::from_secs(10), watcher.next()).await;
        let batch = next.unwrap_or_else(|_| panic!("waited for {wanted:?}, saw only {seen:?}")).unwrap();
        seen.extend(batch.changes);
    }
    seen
}

/// Everything that is pending, up to an event that is made last, in a folder of its own.
async fn rest(watcher: &mut Watcher<u8>) -> Vec<Change<u8>> {
    let folder = TempDir::new().unwrap();
    assert_eq!(watcher.watch_folder(9, folder.path()), State::Present);
    fs::create_dir(folder.path().join("last")).unwrap();
    let last = Change { key: 9, name: Some("last".into()), kind: ChangeKind::Created };
    let seen = until(watcher, last).await;
    watcher.forget(9);
    seen.into_iter().filter(|change| change.key != 9).collect()
}

#[test]
fn names_that_come_and_go_in_a_folder_are_reported() {
    in_both_modes(async |root| {
        let mut watcher = Watcher::new().unwrap();
        assert_eq!(watcher.watch_folder(1, root), State::Present);
        fs::write(root.join("12"), "x").unwrap();
        until(&mut watcher, change("12", ChangeKind::Created)).await;
        fs::write(root.join("12"), "y").unwrap();
        until(&mut watcher, change("12", ChangeKind::Written)).await;
        fs::rename(root.join("12"), root.join("13")).unwrap();
        let seen = until(&mut watcher, change("13", ChangeKind::Created)).await;
        assert!(seen.contains(&change("12", ChangeKind::Removed)));
        fs::remove_file(root.join("13")).unwrap();
        until(&mut watcher, change("13", ChangeKind::Removed)).await;
        fs::set_permissions(root, std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        until(&mut watcher, of_itself(ChangeKind::Attrib)).await;
    });
}

#[test]
fn a_file_renamed_into_place_is_reported_under_its_final_name() {
    in_both_modes(async |root| {
        fs::write(root.join("kubelet_internal_checkpoint"), "old").unwrap();
        let mut watcher = Watcher::new().unwrap();
        watcher.watch_folder(1, root);
        fs::write(root.join(".tmp"), "new").unwrap();
        fs::rename(root.join(".tmp"), root.join("kubelet_internal_checkpoint")).unwrap();
        until(&mut watcher, change("kubelet_internal_checkpoint", ChangeKind::Created)).await;
    });
}

#[test]
fn a_folder_is_awaited_however_much_of_its_path_is_missing() {
    in_both_modes(async |root| {
        let target = root.join("var/lib/kubelet/device-plugins");
        let mut watcher = Watcher::new().unwrap();
        assert_eq!(watcher.watch_folder(1, &target), State::Absent);
        fs::create_dir_all(&target).unwrap();
        until(&mut watcher, of_itself(ChangeKind::Appeared)).await;
        assert_eq!(watcher.state(1), Some(State::Present));
        fs::write(target.join("kubelet.sock"), "").unwrap();
        until(&mut watcher, change("kubelet.sock", ChangeKind::Created)).await;
    });
}

#[test]
fn a_folder_that_is_removed_is_watched_again_when_it_returns() {
    in_both_modes(async |root| {
        let target = root.join("vfio/devices");
        fs::create_dir_all(&target).unwrap();
        let mut watcher = Watcher::new().unwrap();
        watcher.watch_folder(1, &target);
        for round in 0..20 {
            fs::remove_dir_all(root.join("vfio")).unwrap();
            until(&mut watcher, of_itself(ChangeKind::Vanished)).await;
            assert_eq!(watcher.state(1), Some(State::Absent));
            fs::create_dir_all(&target).unwrap();
            until(&mut watcher, of_itself(ChangeKind::Appeared)).await;
            let name = round.to_string();
            fs::write(target.join(&name), "").unwrap();
            until(&mut watcher, change(&name, ChangeKind::Created)).await;
        }
    });
}

#[test]
fn a_folder_replaced_between_two_looks_is_gone_and_back() {
    in_both_modes(async |root| {
        let target = root.join("plugins");
        fs::create_dir(&target).unwrap();
        let mut watcher = Watcher::new().unwrap();
        watcher.watch_folder(1, &target);
        fs::remove_dir(&target).unwrap();
        fs::create_dir(&target).unwrap();
        let seen = until(&mut watcher, of_itself(ChangeKind::Appeared)).await;
        assert_eq!(seen, [of_itself(ChangeKind::Vanished), of_itself(ChangeKind::Appeared)]);
    });
}

#[test]
fn a_parent_that_is_renamed_away_takes_the_target_with_it() {
    in_both_modes(async |root| {
        let target = root.join("kubelet/device-plugins");
        fs::create_dir_all(&target).unwrap();
        let mut watcher = Watcher::new().unwrap();
        watcher.watch_folder(1, &target);
        fs::rename(root.join("kubelet"), root.join("old")).unwrap();
        until(&mut watcher, of_itself(ChangeKind::Vanished)).await;
        fs::write(root.join("old/device-plugins/late"), "").unwrap();
        assert_eq!(rest(&mut watcher).await, []);
    });
}

#[test]
fn a_link_on_the_way_may_be_swapped() {
    in_both_modes(async |root| {
        for generation in ["one", "two"] {
            fs::create_dir(root.join(generation)).unwrap();
        }
        symlink("one", root.join("current")).unwrap();
        let mut watcher = Watcher::new().unwrap();
        watcher.watch_folder(1, &root.join("current"));
        symlink("two", root.join("next")).unwrap();
        fs::rename(root.join("next"), root.join("current")).unwrap();
        until(&mut watcher, of_itself(ChangeKind::Appeared)).await;
        fs::write(root.join("two/9"), "").unwrap();
        until(&mut watcher, change("9", ChangeKind::Created)).await;
        rest(&mut watcher).await;
        fs::write(root.join("one/8"), "").unwrap();
        assert_eq!(rest(&mut watcher).await, []);
    });
}

#[test]
fn what_happens_beside_the_way_is_silent() {
    in_both_modes(async |root| {
        fs::create_dir_all(root.join("a/b")).unwrap();
        let mut watcher = Watcher::new().unwrap();
        watcher.watch_folder(1, &root.join("a/b"));
        fs::write(root.join("a/other"), "x").unwrap();
        fs::create_dir(root.join("else")).unwrap();
        assert_eq!(rest(&mut watcher).await, []);
    });
}

#[test]
fn a_file_is_followed_through_writes_replacement_and_loss() {
    in_both_modes(async |root| {
        let file = root.join("etc/vfiod.yaml");
        let mut watcher = Watcher::new().unwrap();
        assert_eq!(watcher.watch_file(1, &file), State::Absent);
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(&file, "a").unwrap();
        until(&mut watcher, of_itself(ChangeKind::Appeared)).await;
        fs::write(&file, "b").unwrap();
        until(&mut watcher, of_itself(ChangeKind::Written)).await;
        rest(&mut watcher).await;
        fs::write(root.join("etc/new"), "c").unwrap();
        fs::rename(root.join("etc/new"), &file).unwrap();
        until(&mut watcher, of_itself(ChangeKind::Written)).await;
        fs::remove_file(&file).unwrap();
        until(&mut watcher, of_itself(ChangeKind::Vanished)).await;
    });
}

#[test]
fn a_lost_event_is_told() {
    // The queue's limit is shared by the machine, so as many events are made as it takes.
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    in_both_modes(async |root| {
        let mut watcher = Watcher::new().unwrap();
        watcher.watch_folder(1, root);
        // Two names in turn, so that the kernel does not merge equal neighbours.
        let (a, b) = (root.join("a"), root.join("b"));
        fs::write(&a, "").unwrap();
        for _ in 0..=limit / 4 {
            fs::rename(&a, &b).unwrap();
            fs::rename(&b, &a).unwrap();
        }
        let mut overflow = false;
        while !overflow {
            overflow = tokio::time::timeout(Duration::from_secs(10), watcher.next()).await.unwrap().unwrap().overflow;
        }
        fs::write(root.join("after"), "").unwrap();
        until(&mut watcher, change("after", ChangeKind::Created)).await;
    });
}

#[test]
fn cancelled_waits_lose_nothing() {
    in_both_modes(async |root| {
        let mut watcher = Watcher::new().unwrap();
        watcher.watch_folder(1, root);
        let mut seen = Vec::new();
        for number in 0..50 {
            fs::create_dir(root.join(number.to_string())).unwrap();
            // The wait is begun, and given up as soon as anything else happens on this thread.
            tokio::select! {
                biased;
                batch = watcher.next() => seen.extend(batch.unwrap().changes),
                () = tokio::task::yield_now() => {}
            }
        }
        seen.extend(rest(&mut watcher).await);
        let all: Vec<_> = (0..50).map(|number: u8| change(&number.to_string(), ChangeKind::Created)).collect();
        assert_eq!(seen, all);
    });
}

#[test]
fn a_forgotten_target_is_silent_and_its_watches_are_given_back() {
    in_both_modes(async |root| {
        let mut watcher = Watcher::new().unwrap();
        watcher.watch_folder(1, root);
        fs::write(root.join("x"), "").unwrap();
        watcher.forget(1);
        assert_eq!(watcher.state(1), None);
        assert_eq!(watcher.inotify.held(), 0);
        assert_eq!(rest(&mut watcher).await, []);
    });
}

#[test]
fn a_recheck_of_an_unchanged_host_says_nothing() {
    in_both_modes(async |root| {
        let mut watcher = Watcher::new().unwrap();
        watcher.watch_folder(1, root);
        watcher.watch_folder(1, &root.join("absent"));
        watcher.recheck();
        assert_eq!(rest(&mut watcher).await, []);
    });
}

#[test]
fn odd_targets_are_absent_not_fatal() {
    in_both_modes(async |root| {
        fs::write(root.join("file"), "").unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let mut watcher = Watcher::new().unwrap();
        assert_eq!(watcher.watch_folder(1, &root.join("file")), State::Absent);
        assert_eq!(watcher.watch_folder(2, &root.join("file/below")), State::Absent);
        assert_eq!(watcher.watch_file(3, root), State::Absent);
        assert_eq!(watcher.watch_folder(4, &root.join("loop")), State::Absent);
        assert_eq!(watcher.watch_folder(5, &root.join("../../../../../../..")), State::Present);
        assert_eq!(watcher.watch_file(6, Path::new("")), State::Absent);
    });
}

/// Runs a scenario as a user who owns nothing, on a thread of its own.
fn as_nobody(scenario: impl AsyncFn(&Path) + Send + 'static) {
    let folder = TempDir::new().unwrap();
    let root = folder.path().to_owned();
    fs::create_dir_all(root.join("hidden/open")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode;
    fs::set_permissions(root.join("hidden"), mode(0o311)).unwrap();
    fs::set_permissions(root.join("hidden/open"), mode(0o777)).unwrap();
    fs::set_permissions(&root, mode(0o755)).unwrap();
    let thread = std::thread::spawn(move || {
        if rustix::process::getuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        let (runtime, _) = Runtime::start(IoMode::Auto).unwrap();
        runtime.block_on(scenario(&root));
    });
    thread.join().unwrap();
    fs::set_permissions(folder.path().join("hidden"), mode(0o755)).unwrap();
}

#[test]
fn a_folder_that_may_be_passed_but_not_read_does_not_hide_what_is_behind_it() {
    as_nobody(async |root| {
        let mut watcher = Watcher::new().unwrap();
        assert_eq!(watcher.watch_folder(1, &root.join("hidden/open")), State::Present);
        fs::create_dir(root.join("hidden/open/12")).unwrap();
        until(&mut watcher, change("12", ChangeKind::Created)).await;
    });
}

#[test]
fn what_cannot_be_awaited_is_said_and_names_the_folder() {
    as_nobody(async |root| {
        let mut watcher = Watcher::new().unwrap();
        for path in ["hidden", "hidden/absent"] {
            let State::Blind(reason) = watcher.watch_folder(1, &root.join(path)) else { panic!("{path} is seen") };
            assert!(reason.contains("hidden: Permission denied"), "{reason}");
        }
    });
}

fn run(command: &[&str]) {
    let status = std::process::Command::new(command[0]).args(&command[1..]).status().unwrap();
    assert!(status.success(), "{command:?}");
}

#[test]
fn a_mount_is_found_by_the_recheck_and_its_end_is_noticed_at_once() {
    let thread = std::thread::spawn(|| {
        // SAFETY: a mount namespace of this thread changes no memory and no descriptor.
        let alone = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) };
        if let Err(errno) = alone {
            assert!(std::env::var_os("VFIOD_NO_SKIP").is_none(), "mounting needs root ({errno})");
            eprintln!("SKIPPED: mounting needs root ({errno})");
            return;
        }
        run(&["mount", "--make-rprivate", "/"]);
        in_both_modes(async |root| {
            let target = root.join("vfio");
            fs::create_dir(&target).unwrap();
            let mut watcher = Watcher::new().unwrap();
            watcher.watch_folder(1, &target);
            run(&["mount", "-t", "tmpfs", "none", target.to_str().unwrap()]);
            watcher.recheck();
            until(&mut watcher, of_itself(ChangeKind::Appeared)).await;
            fs::create_dir(target.join("12")).unwrap();
            until(&mut watcher, change("12", ChangeKind::Created)).await;
            run(&["umount", target.to_str().unwrap()]);
            until(&mut watcher, of_itself(ChangeKind::Appeared)).await;
            fs::create_dir(target.join("13")).unwrap();
            until(&mut watcher, change("13", ChangeKind::Created)).await;
        });
    });
    thread.join().unwrap();
}
