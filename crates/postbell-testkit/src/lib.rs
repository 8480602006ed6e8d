//! What the tests of several crates share: conformance suites, in-memory stores, databases and a paused clock.
//!
//! Only ever a dev-dependency: nothing of this is in the binary. [`conformance`] has one test for each
//! promise in the documentation of a port; every backend runs all of them.

mod clock;
pub mod conformance;
mod free_port;
mod memory;
mod named_metrics;
mod pgbouncer;
mod ports;
mod postgres;
mod postgres_server;

pub use self::clock::PausedClock;
pub use self::free_port::free_port;
pub use self::memory::{
    MemoryAlerts, MemoryAudit, MemoryDeliveries, MemoryRevocations, MemorySessions, MemoryStore,
    MemoryTokens, MemoryUsers,
};
pub use self::named_metrics::assert_has_named_metrics;
pub use self::pgbouncer::PgBouncer;
pub use self::ports::{Alerts, Deliveries, Operated, UserStore};
pub use self::postgres::PostgresDatabase;
pub use self::postgres_server::PostgresServer;

/// The relay that claims in tests with only one.
pub const RELAY: postbell_core::RelayId = postbell_core::RelayId::new(1);
