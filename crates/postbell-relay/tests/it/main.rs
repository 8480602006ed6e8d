//! The relay over real HTTP, with a sandboxed Google and user directory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dispatcher;
mod push;
mod tidy;
mod world;
