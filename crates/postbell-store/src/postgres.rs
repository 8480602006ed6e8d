//! The ports on one PostgreSQL database: for several machines.
//!
//! Start reading at `database.rs`, which runs transactions on a few connections. `connection.rs` says
//! which servers are refused and what counts as a failed write, `schema.rs` how the schema changes, and
//! `url.rs` what a URL may contain.

#![allow(dead_code, reason = "the ports follow")]

mod alert_outbox;
mod alert_targets;
mod columns;
mod connection;
mod credentials;
mod database;
mod failure;
mod inspection;
mod orphaned_machines;
mod parameter;
mod reencryption;
mod schema;
mod session;
mod sessions;
mod url;
mod users;

pub(crate) use self::alert_outbox::PostgresAlerts;
pub(crate) use self::database::{Database, migrate};
pub(crate) use self::sessions::PostgresSessions;
pub(crate) use self::url::{Target, is_ours};
pub(crate) use self::users::PostgresUsers;
