//! Which of the two ways to the kubelet an endpoint takes.

/// How the kubelet learns of an endpoint (`--registration`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RegistrationMode {
    /// By the kubelet's socket; where the kubelet listens there and takes no registration, also by its plugin watcher.
    #[default]
    Auto,
    /// By the kubelet's socket: `Register` on `device-plugins/kubelet.sock`.
    Socket,
    /// By the kubelet's plugin watcher: a socket in `plugins_registry`.
    Watcher,
}

/// The way of one registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Socket,
    Watcher,
}

/// How often the socket must have failed in a row before the plugin watcher is tried.
const PATIENCE: u32 = 3;

impl RegistrationMode {
    /// The way of the next registration, after `failures` in a row.
    ///
    /// The socket comes first: a registration there is answered at once, and with a reason where it is refused, while the
    /// watcher looks once a second and tries again after growing pauses (kubelet: `pkg/kubelet/pluginmanager/plugin_manager.go`,
    /// `loopSleepDuration`). A kubelet that listens on its socket and takes nothing there (a security policy, a later
    /// release) is tried by turns.
    pub(super) fn way(self, failures: u32, registry_exists: impl FnOnce() -> bool) -> Way {
        match self {
            Self::Socket => Way::Socket,
            Self::Watcher => Way::Watcher,
            Self::Auto if failures >= PATIENCE && failures % 2 == 1 && registry_exists() => Way::Watcher,
            Self::Auto => Way::Socket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_is_kept_where_it_is_demanded() {
        for failures in 0..10 {
            assert_eq!(RegistrationMode::Socket.way(failures, || true), Way::Socket);
            assert_eq!(RegistrationMode::Watcher.way(failures, || false), Way::Watcher);
            assert_eq!(RegistrationMode::Auto.way(failures, || false), Way::Socket, "there is no watcher");
        }
    }

    #[test]
    fn a_socket_that_keeps_refusing_is_tried_by_turns_with_the_watcher() {
        let ways: Vec<_> =
            (0..7).map(|failures| RegistrationMode::Auto.way(failures, || true) == Way::Watcher).collect();
        assert_eq!(ways, [false, false, false, true, false, true, false]);
    }
}
