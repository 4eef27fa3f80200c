//! What is open now: the census as the ground, events on top of it.

use super::{Sight, Taken};
use crate::probe::{Object as Seen, ObjectKind};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};
use vfiod_core::holding::{Held, Object, Process};

/// All that is open, and since when.
///
/// An event changes its object at once. A census that was running meanwhile may be older than the event, so it leaves that
/// object alone, and another census has to follow.
#[derive(Debug, Default)]
pub struct Tracker {
    held: HashMap<Object, Held>,
    since: HashMap<(Object, u32), SystemTime>,
    sight: Sight,
    /// The objects that events named since the census began that is running now.
    touched: Option<HashSet<Object>>,
}

impl Tracker {
    /// A census begins.
    pub fn census_begins(&mut self) {
        self.touched = Some(HashSet::new());
    }

    /// Takes a census. Returns whether another one has to follow.
    pub fn census(&mut self, taken: &Taken, now: SystemTime) -> bool {
        let touched = self.touched.take().unwrap_or_default();
        let first = !matches!(self.sight, Sight::Kernel | Sight::Proc { .. });
        self.sight = Sight::of(&taken.census);
        let mut found: HashMap<Object, Held> = HashMap::new();
        for (opening, process) in taken.census.openings.iter().zip(&taken.processes) {
            let Some(object) = named(&opening.object) else { continue };
            let held = found.entry(object).or_default();
            held.count = held.count.or(opening.open_count);
            held.add(process, opening.fds);
        }
        for hidden in &taken.census.hidden {
            if let Some(object) = named(&hidden.object) {
                found.entry(object).or_default().count = Some(hidden.open_count);
            }
        }
        found.retain(|object, held| held.is_open() && !touched.contains(object));
        found.extend(self.held.extract_if(|object, _| touched.contains(object)));
        self.held = found;
        for held in self.held.values_mut() {
            held.by.sort_by_key(|opening| opening.process.pid);
        }
        let held = &self.held;
        self.since.retain(|(object, pid), _| held.get(object).is_some_and(|held| held.shows(*pid)));
        if !first {
            // Nobody saw it being opened; it was after the last look.
            for (object, held) in &self.held {
                for opening in &held.by {
                    self.since.entry((*object, opening.process.pid)).or_insert(now);
                }
            }
        }
        !touched.is_empty()
    }

    /// No census could be taken.
    pub fn census_failed(&mut self, reason: String) {
        self.touched = None;
        self.sight = Sight::Failed(reason);
    }

    /// Takes an event: a process has opened an object, which is open `count` times now. Returns what to tell, and whether a
    /// census has to follow because the event alone does not explain the count.
    pub fn opened(
        &mut self,
        seen: &Seen,
        process: &Arc<Process>,
        count: Option<u32>,
        when: SystemTime,
    ) -> Option<(Object, Held, bool)> {
        let object = named(seen)?;
        self.touch(object);
        let held = self.held.entry(object).or_default();
        held.add(process, 1);
        held.count = count;
        self.since.entry((object, process.pid)).or_insert(when);
        let shown: u32 = held.by.iter().map(|opening| opening.descriptors).sum();
        let explained = process.place.is_some() && count.is_none_or(|count| count == shown);
        Some((object, held.clone(), !explained))
    }

    /// Takes an event: a file of an object was released for good, and it is open `count` times now.
    pub fn closed(&mut self, seen: &Seen, count: Option<u32>) -> Option<(Object, Held, bool)> {
        let object = named(seen)?;
        self.touch(object);
        if count == Some(0) {
            self.held.remove(&object);
            self.since.retain(|(other, _), _| *other != object);
            return Some((object, Held { count, by: Vec::new() }, false));
        }
        // Whose file it was, only a look can tell: it may have been handed on since it was opened.
        let held = self.held.entry(object).or_default();
        held.count = count.or(held.count);
        let held = held.clone();
        if !held.is_open() {
            self.held.remove(&object);
        }
        Some((object, held, true))
    }

    /// All that is open, for the inventory.
    pub fn all(&self) -> impl Iterator<Item = (Object, Held)> + '_ {
        self.held.iter().map(|(&object, held)| (object, held.clone()))
    }

    /// The state of one object; `None` when it is not open.
    #[must_use]
    pub fn get(&self, object: Object) -> Option<&Held> {
        self.held.get(&object)
    }

    /// Since when a process has had an object open; `None` where it was open before anybody looked.
    #[must_use]
    pub fn since(&self, object: Object, pid: u32) -> Option<SystemTime> {
        self.since.get(&(object, pid)).copied()
    }

    /// How much can be seen.
    #[must_use]
    pub const fn sight(&self) -> &Sight {
        &self.sight
    }

    fn touch(&mut self, object: Object) {
        if let Some(touched) = &mut self.touched {
            touched.insert(object);
        }
    }
}

/// The object by its name; a device that cannot be named stands for its group. `None` where not even that is known.
fn named(seen: &Seen) -> Option<Object> {
    match seen.kind {
        ObjectKind::Device => seen.device.map(Object::Device).or_else(|| seen.group.map(Object::Group)),
        ObjectKind::Group => seen.group.map(Object::Group),
    }
}

#[cfg(test)]
mod tests;
