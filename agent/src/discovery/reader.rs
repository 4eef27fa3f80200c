//! What reading devices one after the other takes.

use super::{cdevs::Cdevs, folder::Scratch};
use std::{collections::HashSet, sync::Arc};
use vfiod_core::device::DevNodes;

/// Used again for every device, so that reading one allocates next to nothing.
pub(super) struct Reader<'c> {
    pub(super) scratch: Scratch,
    pub(super) names: Names,
    pub(super) known: Known<'c>,
}

/// What was read of the whole host beforehand, and need not be read for each device again.
#[derive(Clone, Copy, Default)]
pub(super) struct Known<'c> {
    /// The character devices, by device.
    pub(super) cdevs: Option<&'c Cdevs>,
    /// The nodes below `/dev/vfio`.
    pub(super) nodes: Option<&'c DevNodes>,
}

impl<'c> Reader<'c> {
    pub(super) fn new(known: Known<'c>) -> Self {
        Self { scratch: Scratch::new(), names: Names::default(), known }
    }
}

/// Names that many devices have in common, such as those of drivers: each is kept once.
#[derive(Default)]
pub(super) struct Names(HashSet<Arc<str>>);

impl Names {
    pub(super) fn of(&mut self, name: &[u8]) -> Arc<str> {
        let name = String::from_utf8_lossy(name);
        if let Some(known) = self.0.get(&*name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}
