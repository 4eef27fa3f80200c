//! The checks, one file a group: the rows of the table, and below them how they are checked.

pub(super) mod allocate;
pub(super) mod devices;
pub(super) mod health;
pub(super) mod list;
pub(super) mod options;
pub(super) mod pre_start;
pub(super) mod preferred;
pub(super) mod registration;
pub(super) mod restart;
pub(super) mod slow;
pub(super) mod stop;
pub(super) mod storm;
pub(super) mod variables;
