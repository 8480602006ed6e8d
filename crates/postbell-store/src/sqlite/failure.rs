//! Why a statement failed, and its conversion into the public errors.

use std::sync::Arc;

use postbell_core::{BoxError, DiskFull, StoreError};
use rusqlite::ErrorCode;
use tokio::task::JoinError;

use crate::OpenError;

/// Why a read or write failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// SQLite reported an error.
    Sqlite(rusqlite::Error),
    /// The commit that this job shared with others failed.
    Commit(Arc<rusqlite::Error>),
    /// A stored value is not one that this program writes.
    Corrupt {
        what: &'static str,
        source: BoxError,
    },
    /// The store was opened for reading only.
    ReadOnly,
    /// The writer's queue is full, or the writer has ended.
    Overloaded(&'static str),
    /// The query panicked.
    Panicked(JoinError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sqlite(error) if is_damage(&error) => Self::Corrupt {
                what: "database",
                source: error.into(),
            },
            Failure::Sqlite(error) if is_disk_full(&error) => {
                Self::Unavailable(DiskFull(error.into()).into())
            }
            Failure::Sqlite(error) => Self::Unavailable(error.into()),
            Failure::Commit(error) if is_disk_full(&error) => {
                Self::Unavailable(DiskFull(error.into()).into())
            }
            Failure::Commit(error) => Self::Unavailable(error.into()),
            Failure::Corrupt { what, source } => Self::Corrupt { what, source },
            Failure::ReadOnly => Self::Unavailable("the store is open for reading only".into()),
            Failure::Overloaded(why) => Self::Unavailable(why.into()),
            Failure::Panicked(error) => Self::Unavailable(error.into()),
        }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) {
            Self::Damaged(error.into())
        } else {
            Self::Unavailable(error.into())
        }
    }
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sqlite(error) => error.into(),
            Failure::Corrupt { source, .. } => Self::Damaged(source),
            other => Self::Unavailable(StoreError::from(other).into()),
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

fn is_disk_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_busy_database() -> rusqlite::Result<()> {
        let db = rusqlite::Connection::open_in_memory()?;
        db.execute_batch("PRAGMA max_page_count = 2; CREATE TABLE t (x);")?;
        let full = db
            .execute("INSERT INTO t VALUES (zeroblob(100000))", [])
            .unwrap_err();
        let full = Arc::new(full);
        assert!(StoreError::from(Failure::Commit(full)).is_disk_full());
        let busy = rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            None,
        );
        assert!(!StoreError::from(Failure::Sqlite(busy)).is_disk_full());
        Ok(())
    }
}
