//! Inbox on SQLite.
