//! Clients of Google's APIs against the sandbox.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod gmail;
mod pull;
mod world;
