//! The advisory locks, each held until the end of its transaction.
//!
//! They share the numbers of a database, so each has a number, or hashes its names from one, that no other has.

/// Held while a process migrates.
pub(super) const SCHEMA: &str = "SELECT pg_advisory_xact_lock(7077071843352)";

/// The users of a mailbox, by its key.
pub(super) const MAILBOX: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 5209832))";

/// A machine, by its application and its name.
pub(super) const MACHINE: &str =
    "SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 5209833))";

/// The alert targets of a user.
pub(super) const ALERT_TARGETS: &str =
    "SELECT pg_advisory_xact_lock(hashtextextended($1, 5209834))";

/// The audit log. Until its transaction ends, no other one appends: so numbers rise in the order of the commits.
pub(super) const AUDIT: &str = "SELECT pg_advisory_xact_lock(7077071843353)";
