//! Devices that could not be read: they are tried again soon, and then left to the next rescan.
//!
//! A device is announced before all its files are there. `mdev_type`, for one, is linked after the uevent of a new mdev
//! (kernel: `drivers/vfio/mdev/mdev_core.c`, `mdev_device_create`: `device_add`, then `mdev_create_sysfs_files`), and no
//! later event says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use vfiod_core::{device::DeviceId, ownership::Moment};

/// The pauses before each new try.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// The devices to try again.
#[derive(Debug, Default)]
pub(super) struct Retries {
    tries: BTreeMap<DeviceId, usize>,
    due: BTreeSet<(Moment, DeviceId)>,
}

impl Retries {
    /// Takes the outcome of one read: the devices that could not be read, and those that could.
    pub(super) fn note(
        &mut self,
        failed: impl IntoIterator<Item = DeviceId>,
        read: impl IntoIterator<Item = DeviceId>,
        now: Moment,
    ) {
        if !self.tries.is_empty() {
            for id in read {
                self.tries.remove(&id);
            }
        }
        for id in failed {
            let tries = self.tries.entry(id).or_default();
            if let Some(&pause) = PAUSES.get(*tries) {
                *tries += 1;
                self.due.insert((now + pause, id));
            }
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Moment> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Takes those that are due.
    pub(super) fn take(&mut self, now: Moment) -> Vec<DeviceId> {
        let mut taken = Vec::new();
        while let Some(&(at, id)) = self.due.first().filter(|&&(at, _)| at <= now) {
            self.due.remove(&(at, id));
            taken.push(id);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_tried_again_a_few_times_and_then_left_alone() {
        let id: DeviceId = "0000:3b:00.0".parse().unwrap();
        let (mut retries, mut now) = (Retries::default(), Duration::ZERO);
        retries.note([id], [], now);
        for _ in PAUSES {
            let at = retries.next().unwrap();
            assert!(at > now && retries.take(now).is_empty());
            now = at;
            assert_eq!(retries.take(now), [id]);
            retries.note([id], [], now);
        }
        assert_eq!(retries.next(), None);
    }

    #[test]
    fn a_device_that_was_read_starts_anew() {
        let id: DeviceId = "0000:3b:00.0".parse().unwrap();
        let mut retries = Retries::default();
        retries.note([id], [], Duration::ZERO);
        retries.take(Duration::from_secs(1));
        retries.note([], [id], Duration::from_secs(1));
        retries.note([id], [], Duration::from_secs(2));
        assert_eq!(retries.next(), Some(Duration::from_secs(2) + PAUSES[0]));
    }
}
