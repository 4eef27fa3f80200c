//! Flapping: a device that goes up and down must prove itself before it is offered again.

use crate::ownership::Moment;
use std::{collections::VecDeque, time::Duration};

/// This many falls within [`WINDOW`] make a recovery wait.
const PATIENCE: usize = 5;
/// The time within which falls count.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a flapping device must be well before it is healthy.
const STABLE: Duration = Duration::from_secs(1);

/// The recent falls of one device.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    falls: VecDeque<Moment>,
    well_since: Option<Moment>,
}

impl Flaps {
    /// Notes that the device went from healthy to unhealthy.
    pub(super) fn fell(&mut self, now: Moment) {
        if self.falls.len() == PATIENCE {
            self.falls.pop_front();
        }
        self.falls.push_back(now);
        self.well_since = None;
    }

    /// Notes that the device is not well.
    pub(super) fn unwell(&mut self) {
        self.well_since = None;
    }

    /// The device is well but still reported unhealthy: when it may be reported healthy; `None` for now.
    pub(super) fn recovery(&mut self, now: Moment) -> Option<Moment> {
        while self.falls.front().is_some_and(|&fall| fall + WINDOW < now) {
            self.falls.pop_front();
        }
        if self.falls.len() < PATIENCE {
            return None;
        }
        let at = *self.well_since.get_or_insert(now) + STABLE;
        (now < at).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    #[test]
    fn four_flaps_recover_at_once_and_the_fifth_waits_a_second() {
        let mut flaps = Flaps::default();
        for fall in 0..4 {
            flaps.fell(ms(fall * 100));
            assert_eq!(flaps.recovery(ms(fall * 100 + 50)), None);
        }
        flaps.fell(ms(400));
        assert_eq!(flaps.recovery(ms(450)), Some(ms(1450)));
        assert_eq!(flaps.recovery(ms(1449)), Some(ms(1450)));
        assert_eq!(flaps.recovery(ms(1450)), None);
    }

    #[test]
    fn being_unwell_in_between_starts_the_second_anew() {
        let mut flaps = Flaps::default();
        (0..5).for_each(|fall| flaps.fell(ms(fall)));
        assert_eq!(flaps.recovery(ms(10)), Some(ms(1010)));
        flaps.unwell();
        assert_eq!(flaps.recovery(ms(500)), Some(ms(1500)));
    }

    #[test]
    fn old_falls_are_forgotten() {
        let mut flaps = Flaps::default();
        (0..5).for_each(|fall| flaps.fell(ms(fall)));
        assert_eq!(flaps.recovery(ms(10_005)), None);
    }
}
