//! What changes on the host: uevents and file watches.
