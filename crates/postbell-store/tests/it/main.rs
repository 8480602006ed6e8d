//! The store against its promises.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod durability;
mod instances;
mod instances_model;
mod model;
mod read_only;
mod schema;
mod sign_ins;
mod sqlite;
