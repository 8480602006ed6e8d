//! The store against its promises.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod backup;
mod changes;
mod copy;
mod deliveries;
mod deliveries_model;
mod durability;
mod engines;
mod full_disk;
mod operator;
mod postgres;
mod postgres_deliveries;
mod postgres_failover;
mod postgres_inspection;
mod postgres_races;
mod postgres_tls;
mod postgres_users;
mod read_only;
mod restore;
mod revocations;
mod schema;
mod sessions;
mod two_processes;
mod upgrade;
mod users;
mod users_model;
