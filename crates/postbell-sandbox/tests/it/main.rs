//! The sandbox over real HTTP: that it pushes as Google does, and fails as configured.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod fly;
mod push;
mod world;
