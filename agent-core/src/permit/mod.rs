//! What an administrator permits: documents, entries, and the devices they select.
