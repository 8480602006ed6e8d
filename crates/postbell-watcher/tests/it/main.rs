//! The watcher between a real (sandboxed) Gmail and a real (sandboxed) bot.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod delivery;
mod extras;
mod losses;
mod peers;
mod poison;
mod quota;
mod renewal;
mod server;
mod world;
