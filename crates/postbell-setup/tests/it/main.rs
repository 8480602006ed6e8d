//! Setting up and taking back, against the sandbox.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod interrupted;
mod local;
mod person;
mod sign_in;
mod undone;
mod walls;
mod world;
