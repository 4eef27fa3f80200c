//! Whether the kubelet is up, and since when.

use rustix::time::{ClockId, clock_gettime};
use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};
use tokio::net::UnixStream;

/// How long the kubelet has been up; `None` while nobody listens on its registration socket.
///
/// A starting kubelet removes that socket and binds it anew, so the file is as old as the kubelet
/// (kubernetes: `pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go`, `Start`). The wall clock may have been set since:
/// then the answer is off by as much, but it is never longer than the machine has been up.
pub async fn kubelet_up(plugin_dir: &Path) -> Option<Duration> {
    let socket = plugin_dir.join(vfiod_proto::KUBELET_SOCKET);
    // The file of a killed kubelet stays, so only a connection proves that somebody listens.
    UnixStream::connect(&socket).await.ok()?;
    let bound = fs::metadata(&socket).ok()?.modified().ok()?;
    let age = SystemTime::now().duration_since(bound).unwrap_or(Duration::ZERO);
    Some(age.min(machine_up()))
}

fn machine_up() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::from_secs(now.tv_sec.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{IoMode, Runtime};
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_kubelet_is_as_old_as_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("kubelet.sock");
        let (runtime, _) = Runtime::start(IoMode::Auto).unwrap();
        let up = || runtime.block_on(kubelet_up(folder.path()));
        assert_eq!(up(), None, "no socket");

        let listener = UnixListener::bind(&socket).unwrap();
        assert!(up().unwrap() < Duration::from_secs(60));
        drop(listener);
        assert_eq!(up(), None, "a socket that nobody listens on");
    }

    #[test]
    fn a_clock_that_was_set_back_or_never_right_does_not_make_the_kubelet_older() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("kubelet.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let (runtime, _) = Runtime::start(IoMode::Auto).unwrap();
        let up_when_bound_at = |time: SystemTime| {
            let times = rustix::fs::Timestamps { last_access: timespec(time), last_modification: timespec(time) };
            rustix::fs::utimensat(rustix::fs::CWD, &socket, &times, rustix::fs::AtFlags::empty()).unwrap();
            runtime.block_on(kubelet_up(folder.path())).unwrap()
        };
        assert_eq!(up_when_bound_at(SystemTime::now() + Duration::from_secs(3600)), Duration::ZERO);
        assert!(up_when_bound_at(SystemTime::UNIX_EPOCH) <= machine_up() + Duration::from_secs(1));
    }

    fn timespec(time: SystemTime) -> rustix::fs::Timespec {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        rustix::fs::Timespec { tv_sec: since.as_secs().try_into().unwrap(), tv_nsec: 0 }
    }
}
