//! How much can be seen of holders, and what cannot.

use crate::probe::{Census, Source};
use vfiod_proto::status;

/// What the last census could see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sight {
    /// Nothing yet.
    #[default]
    None,
    /// No census could be taken, for this reason.
    Failed(String),
    /// The kernel's own tables.
    Kernel,
    /// `/proc`.
    Proc {
        /// Processes whose descriptors could not be looked at.
        unreadable: u32,
    },
}

impl Sight {
    /// What this census could see.
    #[must_use]
    pub const fn of(census: &Census) -> Self {
        match census.source {
            Source::Kernel => Self::Kernel,
            Source::Proc => Self::Proc { unreadable: census.unreadable },
        }
    }

    /// What cannot be known this way, and what would help.
    #[must_use]
    pub fn unknown(&self) -> Vec<String> {
        match self {
            Self::None => vec!["nobody has looked yet".to_owned()],
            Self::Failed(reason) => vec![format!("who has what open: {reason}")],
            Self::Kernel => Vec::new(),
            Self::Proc { unreadable } => {
                let mut unknown = vec![
                    "which device of a group is open (up to Linux 7.1 /proc names groups only), files that are mapped or on \
                     their way over a socket, and how often a device is open: the kernel probe would tell"
                        .to_owned(),
                ];
                if *unreadable > 0 {
                    let processes = if *unreadable == 1 { "one process has" } else { "some processes have" };
                    unknown.push(format!(
                        "what {processes} open ({unreadable} cannot be looked at): CAP_SYS_PTRACE would tell"
                    ));
                }
                unknown
            }
        }
    }

    /// As it goes over the status socket.
    #[must_use]
    pub fn to_status(&self) -> status::Sight {
        let by = match self {
            Self::None | Self::Failed(_) => "none",
            Self::Kernel => "probe",
            Self::Proc { .. } => "proc",
        };
        status::Sight { by: by.to_owned(), unknown: self.unknown() }
    }
}
