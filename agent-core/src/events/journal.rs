//! How often the cluster is told: repetitions become a series, and nobody is flooded.

use super::{Kind, Occurrence, Subject};
use crate::ownership::{Moment, Pod};
use std::{collections::HashMap, time::Duration};

/// A series ends when nothing of it has happened for this long; the next time is a new Event. As client-go has it
/// (`tools/events/event_broadcaster.go`, `finishTime`).
const SERIES_ENDS: Duration = Duration::from_secs(6 * 60);
/// The shortest time between two writes of one series.
const BETWEEN: Duration = Duration::from_secs(30);
/// How many Events may be created at once, and how long until there is room for one more. The next ones are only counted.
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_secs(10);
/// The most series that are remembered; beyond them nothing is created.
const MOST: usize = 1000;

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Post {
    /// A new Event; later posts of its series name the same number.
    Create {
        /// The number of the series.
        series: u64,
        /// What happened.
        occurrence: Occurrence,
    },
    /// It happened again.
    Repeat {
        /// The number of the series.
        series: u64,
        /// How often by now, the first time included.
        count: u32,
        /// What happened, as it was told first.
        occurrence: Occurrence,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    subject: Subject,
    pod: Option<Pod>,
}

#[derive(Debug)]
struct Series {
    number: u64,
    occurrence: Occurrence,
    count: u32,
    last: Moment,
    /// When it was written last, and with which count.
    written: (Moment, u32),
}

/// What was told, and what may be.
#[derive(Debug)]
pub struct Journal {
    series: HashMap<Key, Series>,
    numbers: u64,
    tokens: u32,
    refilled: Moment,
    dropped: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { series: HashMap::new(), numbers: 0, tokens: BURST, refilled: Moment::ZERO, dropped: 0 }
    }
}

impl Journal {
    /// Takes what happened; returns what is to be written at once.
    pub fn take(&mut self, occurrence: Occurrence, now: Moment) -> Option<Post> {
        self.forget(now);
        let key = Key { kind: occurrence.kind, subject: occurrence.subject.clone(), pod: occurrence.pod.clone() };
        if let Some(series) = self.series.get_mut(&key) {
            series.count = series.count.saturating_add(1);
            series.last = now;
            return series.repeat(now);
        }
        self.refill(now);
        if self.tokens == 0 || self.series.len() >= MOST {
            self.dropped += 1;
            return None;
        }
        self.tokens -= 1;
        self.numbers += 1;
        let number = self.numbers;
        let series = Series { number, occurrence: occurrence.clone(), count: 1, last: now, written: (now, 1) };
        self.series.insert(key, series);
        Some(Post::Create { series: number, occurrence })
    }

    /// Takes what is due: repetitions that came too soon after the last writing.
    pub fn due(&mut self, now: Moment) -> Vec<Post> {
        let posts = self.series.values_mut().filter_map(|series| series.repeat(now)).collect();
        self.forget(now);
        posts
    }

    /// When something is due next.
    #[must_use]
    pub fn next(&self) -> Option<Moment> {
        self.series
            .values()
            .filter(|series| series.count > series.written.1)
            .map(|series| series.written.0 + BETWEEN)
            .min()
    }

    /// How many occurrences were not told.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn forget(&mut self, now: Moment) {
        self.series.retain(|_, series| series.last + SERIES_ENDS > now || series.count > series.written.1);
    }

    fn refill(&mut self, now: Moment) {
        while self.refilled + REFILL <= now && self.tokens < BURST {
            self.refilled += REFILL;
            self.tokens += 1;
        }
        if self.tokens == BURST {
            self.refilled = now;
        }
    }
}

impl Series {
    fn repeat(&mut self, now: Moment) -> Option<Post> {
        let (at, count) = self.written;
        if self.count == count || now < at + BETWEEN {
            return None;
        }
        self.written = (now, self.count);
        Some(Post::Repeat { series: self.number, count: self.count, occurrence: self.occurrence.clone() })
    }
}
