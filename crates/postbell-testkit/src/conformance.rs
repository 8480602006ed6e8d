//! The promises of the ports, as suites that run against every backend.

#![expect(
    clippy::unwrap_used,
    reason = "a suite fails by panicking, as any test does"
)]

pub mod alerts;
pub mod changes;
pub mod deliveries;
pub mod operator;
pub mod revocations;
pub mod sessions;
pub mod users;
