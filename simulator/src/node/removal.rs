//! Removals, and what holds them up.
//!
//! VFIO lets a driver go only when nobody has the device open (kernel: `drivers/vfio/vfio_main.c`,
//! `vfio_unregister_group_dev` waits for the last reference). Whoever unbinds or unplugs waits inside the kernel meanwhile,
//! with a part of the files gone. Each removal here can be run again, and then goes on where it stopped.

use super::{NodeError, world::World};

/// How far a removal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Progress {
    Done,
    /// Somebody has a device open.
    Blocked,
}

/// Something that takes a device away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Removal {
    Unbind(String),
    Unplug(String),
    Mdev(String),
    /// A new number of virtual functions, which are removed where it is 0.
    Vfs(String, u16),
}

impl Removal {
    fn device(&self) -> &str {
        match self {
            Self::Unbind(name) | Self::Unplug(name) | Self::Mdev(name) | Self::Vfs(name, _) => name,
        }
    }
}

impl World {
    /// Begins a removal; it ends in [`Self::let_go`] if somebody has the device open.
    pub(super) fn start(&mut self, removal: Removal) -> Result<(), NodeError> {
        if self.blocked.iter().any(|waiting| waiting.device() == removal.device()) {
            return Err(NodeError::Removing(removal.device().to_owned()));
        }
        self.go_on(removal)
    }

    fn go_on(&mut self, removal: Removal) -> Result<(), NodeError> {
        let progress = match &removal {
            Removal::Unbind(name) => self.unbind(name),
            Removal::Unplug(name) => self.unplug(name),
            Removal::Mdev(name) => self.remove_mdev(name),
            Removal::Vfs(name, count) => self.set_numvfs(name, *count),
        }?;
        if progress == Progress::Blocked {
            self.blocked.push(removal);
        }
        Ok(())
    }

    pub(super) fn hold(&mut self, name: &str) -> Result<(), NodeError> {
        let device = self.device_mut(name)?;
        if device.vfio.is_none() {
            return Err(NodeError::NotVfio(name.to_owned()));
        }
        device.open = true;
        Ok(())
    }

    pub(super) fn let_go(&mut self, name: &str) -> Result<(), NodeError> {
        self.device_mut(name)?.open = false;
        for removal in std::mem::take(&mut self.blocked) {
            // One may have finished another's work: an unplug takes along what an unbind waited for.
            if self.devices.contains_key(removal.device()) {
                self.go_on(removal)?;
            }
        }
        Ok(())
    }
}
