//! The configuration file: reading it, and following its changes.

pub mod follow;
