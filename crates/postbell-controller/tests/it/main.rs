//! The controller over its router, with a real watcher's port behind it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gmail_pubsub;
mod supervisor;
