//! The ports on one PostgreSQL database: for several machines.
//!
//! Start reading at `database.rs`, which runs transactions on a few connections. `connection.rs` says
//! which servers are refused and what counts as a failed write, `schema.rs` how the schema changes, and
//! `url.rs` what a URL may contain.

#![allow(dead_code, reason = "the ports follow")]

mod columns;
mod connection;
mod database;
mod failure;
mod parameter;
mod schema;
mod session;
mod url;

pub(crate) use self::database::{Database, migrate};
pub(crate) use self::url::{Target, is_ours};
