//! Flapping: a device that goes up and down must prove itself before it is offered again.

use crate::{device::DeviceId, ownership::Moment, permit::ResourceName};
use smallvec::SmallVec;
use std::{collections::BTreeMap, time::Duration};

/// This many falls within [`WINDOW`] make a recovery wait.
const PATIENCE: usize = 5;
/// The time within which falls count.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a flapping device must be well before it is healthy.
const STABLE: Duration = Duration::from_secs(1);

/// The recent falls of all devices: also of those that are not listed any more, for they may come back. All devices of a host may
/// fall at once, as a rule each of them once.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    devices: BTreeMap<(ResourceName, DeviceId), Falls>,
    swept: Moment,
}

/// The recent falls of one device.
#[derive(Debug, Default)]
struct Falls {
    falls: SmallVec<[Moment; 1]>,
    well_since: Option<Moment>,
}

impl Flaps {
    /// Notes that the device went from healthy to unhealthy, or was lost while it was healthy.
    pub(super) fn fell(&mut self, resource: &ResourceName, device: DeviceId, now: Moment) {
        let falls = self.devices.entry((resource.clone(), device)).or_default();
        if falls.falls.len() == PATIENCE {
            falls.falls.remove(0);
        }
        falls.falls.push(now);
        falls.well_since = None;
    }

    /// Notes that the device is not well.
    pub(super) fn unwell(&mut self, resource: &ResourceName, device: DeviceId) {
        if let Some(falls) = self.of(resource, device) {
            falls.well_since = None;
        }
    }

    /// The device is well but not reported healthy yet: when it may be; `None` for now.
    pub(super) fn recovery(&mut self, resource: &ResourceName, device: DeviceId, now: Moment) -> Option<Moment> {
        let falls = self.of(resource, device)?;
        falls.forget(now);
        if falls.falls.len() < PATIENCE {
            return None;
        }
        let at = *falls.well_since.get_or_insert(now) + STABLE;
        (now < at).then_some(at)
    }

    /// Forgets what no longer counts, now and then.
    pub(super) fn sweep(&mut self, now: Moment) {
        if now >= self.swept + WINDOW {
            self.swept = now;
            self.devices.retain(|_, falls| {
                falls.forget(now);
                !falls.falls.is_empty()
            });
        }
    }

    /// When there is something to forget; `None` where nothing is remembered.
    pub(super) fn next_sweep(&self) -> Option<Moment> {
        (!self.devices.is_empty()).then_some(self.swept + WINDOW)
    }

    fn of(&mut self, resource: &ResourceName, device: DeviceId) -> Option<&mut Falls> {
        if self.devices.is_empty() {
            return None; // as nearly always
        }
        self.devices.get_mut(&(resource.clone(), device))
    }
}

impl Falls {
    fn forget(&mut self, now: Moment) {
        self.falls.retain(|&mut fall| fall + WINDOW >= now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Bdf;

    const fn ms(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    /// One device under one resource.
    struct Device(Flaps, ResourceName, DeviceId);

    impl Device {
        fn new() -> Self {
            Self(Flaps::default(), "a.com/gpu".parse().unwrap(), Bdf::new(0, 1, 0, 0).unwrap().into())
        }

        fn falls_at(&mut self, moments: impl IntoIterator<Item = u64>) {
            moments.into_iter().for_each(|at| self.0.fell(&self.1, self.2, ms(at)));
        }

        fn recovery(&mut self, at: u64) -> Option<Moment> {
            self.0.recovery(&self.1, self.2, ms(at))
        }
    }

    #[test]
    fn four_flaps_recover_at_once_and_the_fifth_waits_a_second() {
        let mut device = Device::new();
        for fall in 0..4 {
            device.falls_at([fall * 100]);
            assert_eq!(device.recovery(fall * 100 + 50), None);
        }
        device.falls_at([400]);
        assert_eq!(device.recovery(450), Some(ms(1450)));
        assert_eq!(device.recovery(1449), Some(ms(1450)));
        assert_eq!(device.recovery(1450), None);
    }

    #[test]
    fn being_unwell_in_between_starts_the_second_anew() {
        let mut device = Device::new();
        device.falls_at(0..5);
        assert_eq!(device.recovery(10), Some(ms(1010)));
        device.0.unwell(&device.1, device.2);
        assert_eq!(device.recovery(500), Some(ms(1500)));
    }

    #[test]
    fn old_falls_are_forgotten() {
        let mut device = Device::new();
        device.falls_at(0..5);
        device.0.sweep(ms(10_000));
        assert_eq!(device.recovery(10_000), Some(ms(11_000)));
        assert_eq!(device.recovery(10_005), None);
        assert_eq!(device.0.next_sweep(), Some(ms(20_000)));
        device.0.sweep(ms(20_000));
        assert!(device.0.devices.is_empty());
        assert_eq!(device.0.next_sweep(), None);
    }
}
