//! Setup and undo, against the sandbox.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blockers;
mod fake_user;
mod interrupted;
mod local;
mod operator;
mod sign_in;
mod undo;
mod world;
