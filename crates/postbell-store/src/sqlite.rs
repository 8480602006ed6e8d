//! The ports on one SQLite file: the default, for one machine.

mod access_tokens;
mod alert;
mod alert_mark;
mod alert_target;
mod alerts;
mod audit;
mod clock;
mod columns;
mod connection;
mod copy;
mod credential;
mod cursor;
mod database;
mod dead_letter;
mod deliveries;
mod delivery;
mod failure;
mod marks;
mod orphaned_machine;
mod pending;
mod relay;
mod schema;
mod sessions;
mod user;
mod users;
mod write_probe;
mod writer;

pub(crate) use self::access_tokens::SqliteTokens;
pub(crate) use self::alerts::SqliteAlerts;
pub(crate) use self::audit::SqliteAudit;
pub(crate) use self::copy::{copy_source, copy_target};
pub(crate) use self::database::{Database, migrate};
pub(crate) use self::deliveries::SqliteDeliveries;
pub use self::schema::Migrated;
pub(crate) use self::sessions::SqliteSessions;
pub(crate) use self::users::SqliteUsers;
