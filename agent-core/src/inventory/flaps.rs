//! Flapping: a device that goes up and down must prove itself before it is offered again.

use crate::{
    device::{Bdf, DeviceId},
    ownership::Moment,
    permit::ResourceName,
};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::{collections::BTreeMap, time::Duration};

/// This many falls within [`WINDOW`] make a recovery wait.
const PATIENCE: usize = 5;
/// The time within which falls count.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a flapping device must be well before it is healthy.
const STABLE: Duration = Duration::from_secs(1);

/// The recent falls of all devices: also of those that are not listed any more, for they may come back.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    /// By resource, when each device fell that did so only once: all devices of a host may fall at once, as a rule each of them
    /// once. Those of mediated devices, whose ids are longer, are among the others.
    once: BTreeMap<ResourceName, FxHashMap<Bdf, Millis>>,
    often: BTreeMap<(ResourceName, DeviceId), Falls>,
    swept: Moment,
}

/// Milliseconds of a moment, without those that are longer ago than 49 days: what is swept away is younger by far.
type Millis = u32;

/// The recent falls of one device.
#[derive(Debug, Default)]
struct Falls {
    falls: SmallVec<[Millis; PATIENCE]>,
    well_since: Option<Moment>,
}

impl Flaps {
    /// Notes that the device went from healthy to unhealthy, or was lost while it was healthy.
    pub(super) fn fell(&mut self, resource: &ResourceName, device: DeviceId, now: Moment) {
        if let Some(falls) = self.of(resource, device) {
            return falls.fell(now);
        }
        let mut falls = Falls::default();
        if let DeviceId::Pci(bdf) = device {
            let once = self.once.entry(resource.clone()).or_default();
            match once.remove(&bdf) {
                Some(first) => falls.falls.push(first),
                None => {
                    once.insert(bdf, millis(now));
                    return;
                }
            }
        }
        falls.fell(now);
        self.often.insert((resource.clone(), device), falls);
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
            self.once.retain(|_, once| {
                once.retain(|_, &mut fall| counts(fall, now));
                once.shrink_to_fit();
                !once.is_empty()
            });
            self.often.retain(|_, falls| {
                falls.forget(now);
                !falls.falls.is_empty()
            });
        }
    }

    /// When there is something to forget; `None` where nothing is remembered.
    pub(super) fn next_sweep(&self) -> Option<Moment> {
        (!self.once.is_empty() || !self.often.is_empty()).then_some(self.swept + WINDOW)
    }

    fn of(&mut self, resource: &ResourceName, device: DeviceId) -> Option<&mut Falls> {
        if self.often.is_empty() {
            return None; // as nearly always
        }
        self.often.get_mut(&(resource.clone(), device))
    }
}

impl Falls {
    fn fell(&mut self, now: Moment) {
        if self.falls.len() == PATIENCE {
            self.falls.remove(0);
        }
        self.falls.push(millis(now));
        self.well_since = None;
    }

    fn forget(&mut self, now: Moment) {
        self.falls.retain(|&mut fall| counts(fall, now));
    }
}

fn millis(moment: Moment) -> Millis {
    (moment.as_millis() & u128::from(Millis::MAX)) as Millis
}

/// Whether a fall is of the last [`WINDOW`].
fn counts(fall: Millis, now: Moment) -> bool {
    u128::from(millis(now).wrapping_sub(fall)) <= WINDOW.as_millis()
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
        assert!(device.0.once.is_empty() && device.0.often.is_empty());
        assert_eq!(device.0.next_sweep(), None);
    }

    #[test]
    fn a_single_fall_is_forgotten_too_and_counts_until_then() {
        let mut device = Device::new();
        device.falls_at([1000]);
        device.0.sweep(ms(10_500));
        device.falls_at([10_600, 10_700, 10_800, 10_900]);
        assert_eq!(device.recovery(10_950), Some(ms(11_950)), "the first one counts");
        let mut device = Device::new();
        device.falls_at([1000]);
        device.0.sweep(ms(11_500));
        assert_eq!(device.0.next_sweep(), None);
        device.falls_at([11_600, 11_700, 11_800, 11_900]);
        assert_eq!(device.recovery(11_950), None);
    }

    #[test]
    fn falls_are_told_apart_by_resource_and_are_counted_after_49_days_as_well() {
        let mut device = Device::new();
        let late = u64::from(Millis::MAX) - 150;
        device.falls_at((0..4).map(|fall| late + fall * 100));
        let mut other = Device(std::mem::take(&mut device.0), "a.com/other".parse().unwrap(), device.2);
        other.falls_at([late + 400]);
        assert_eq!(other.recovery(late + 450), None);
        device.0 = other.0;
        device.falls_at([late + 410]);
        assert_eq!(device.recovery(late + 450), Some(ms(late + 1450)));
    }
}
