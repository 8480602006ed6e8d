//! What core promises on top of a store, tried on the stores in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod update;
mod wait;
