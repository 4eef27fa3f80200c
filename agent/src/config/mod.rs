//! The configuration file: reading it, and following its changes.

pub mod follow;
mod load;

pub use load::{Config, ConfigError, FromKubeVirt, Standing};
