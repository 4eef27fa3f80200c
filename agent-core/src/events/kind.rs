//! The kinds of Events.

/// What happened. The names are stable: `reason` of the Event, `event` of the log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A device can no longer be handed out: it is gone, unbound, or a node of it is missing.
    DeviceUnhealthy,
    /// A device that one of the other kinds was told of is well again.
    DeviceRecovered,
    /// A member of an IOMMU group is bound to a driver of the host.
    GroupNotViable,
    /// A process outside the owning pod has a device open.
    ForeignHolder,
    /// A process of a pod that is gone still has a device open.
    StuckHolder,
    /// The kernel reported a fatal PCI error.
    PciFatalError,
    /// The configuration, or a part of it, is rejected.
    ConfigurationRejected,
    /// A resource has more devices than the kubelet can receive.
    ListTooLong,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::DeviceUnhealthy,
        Self::DeviceRecovered,
        Self::GroupNotViable,
        Self::ForeignHolder,
        Self::StuckHolder,
        Self::PciFatalError,
        Self::ConfigurationRejected,
        Self::ListTooLong,
    ];

    /// Its name.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::DeviceUnhealthy => "DeviceUnhealthy",
            Self::DeviceRecovered => "DeviceRecovered",
            Self::GroupNotViable => "GroupNotViable",
            Self::ForeignHolder => "ForeignHolder",
            Self::StuckHolder => "StuckHolder",
            Self::PciFatalError => "PciFatalError",
            Self::ConfigurationRejected => "ConfigurationRejected",
            Self::ListTooLong => "ListTooLong",
        }
    }

    /// What vfiod did when it happened: `action` of the Event.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::ConfigurationRejected => "ReadConfiguration",
            Self::ListTooLong => "ListDevices",
            _ => "JudgeDevice",
        }
    }

    /// Whether somebody should look: `type` of the Event is then `Warning`, else `Normal`.
    #[must_use]
    pub const fn is_warning(self) -> bool {
        !matches!(self, Self::DeviceRecovered)
    }
}
