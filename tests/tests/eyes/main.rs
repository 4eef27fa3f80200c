//! What operators look at: the page in a real browser, metrics and readiness, `vfiod top` and `vfiod watch`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod commands;
mod http;
mod page;
mod scene;
