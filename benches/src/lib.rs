//! How fast vfiod is, measured beside the floor: `cargo xtask bench`.
//!
//! ```text
//! run ─┬─ host       a simulated node, and what is permitted on it
//!      ├─ server     vfiod, the floor or another plugin: started fresh, its memory and wake-ups read from /proc
//!      ├─ kubelet ── client ── wire      plays the kubelet over HTTP/2 by hand
//!      ├─ measure/   one figure a file
//!      └─ report     medians of block medians, ratios and bounds as a table and as JSON
//! budget             where the time of each path goes: by thread, by system call (strace), by part
//! fleet              a host in memory, ring_reader: the alternative to discovery's reads; for `cargo bench`
//! floor              the server that does the least that tonic allows; plan: what it serves
//! ```

pub mod awake;
pub mod budget;
pub mod client;
pub mod fleet;
pub mod floor;
pub mod host;
pub mod kubelet;
pub mod measure;
pub mod placement;
pub mod plan;
pub mod report;
pub mod ring_reader;
pub mod run;
pub mod sample;
pub mod server;
pub mod strace;
pub mod uevents;
pub mod wire;
