//! The ports on one PostgreSQL database: for several machines.
//!
//! Start reading at `database.rs`, which runs transactions on a few connections. `connection.rs` says
//! which servers are refused and what counts as a failed write, `lanes.rs` how the writes of the queue
//! share a commit, `schema.rs` how the schema changes, and
//! `url.rs` what a URL may contain.

mod access_tokens;
mod advisory_locks;
mod alert_outbox;
mod alert_targets;
mod audit;
mod claims;
mod clock;
mod columns;
mod connection;
mod connector;
mod copy;
mod credentials;
mod database;
mod dead_letter;
mod deliveries;
mod delivery;
mod failure;
mod inspection;
mod lanes;
mod mailboxes;
mod orphaned_machines;
mod parameter;
mod pending;
mod readiness;
mod reencryption;
mod relay;
mod revocations;
mod rising;
mod schema;
mod session;
mod sessions;
mod single_flight;
mod unanswered;
mod url;
mod users;
mod write;

pub(crate) use self::access_tokens::PostgresTokens;
pub(crate) use self::alert_outbox::PostgresAlerts;
pub(crate) use self::audit::PostgresAudit;
pub(crate) use self::connector::migrate;
pub(crate) use self::copy::{copy_source, copy_target};
pub(crate) use self::database::Database;
pub(crate) use self::deliveries::PostgresDeliveries;
pub(crate) use self::revocations::PostgresRevocations;
pub(crate) use self::sessions::PostgresSessions;
pub(crate) use self::url::{Target, is_ours};
pub(crate) use self::users::PostgresUsers;
