//! The reactor: one thread, the only writer of facts.
