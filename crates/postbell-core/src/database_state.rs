//! What a database server says about how it keeps data.

use std::time::Duration;

/// A database server that can be used, and what its operator should know about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DatabaseState {
    /// Whether a commit waits until another server has it.
    pub synchronous_standby: SynchronousStandby,

    /// The session with the oldest snapshot, if it is too old.
    pub old_snapshot: Option<OldSnapshot>,
}

/// The servers that must have a commit before it succeeds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SynchronousStandby {
    /// Commits wait for no other server.
    None,
    /// Commits succeed once another server has them.
    Connected,
    /// Commits wait, because no server or not enough of them confirm them.
    Missing,
}

/// A session whose transaction keeps deleted rows from being removed
/// (<https://www.postgresql.org/docs/current/routine-vacuuming.html>).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OldSnapshot {
    /// The number of the session on the server.
    pub pid: i64,

    /// The name that the application has given itself, and the role.
    pub session: String,

    /// How long ago its transaction began.
    pub age: Duration,
}
