//! Why a statement failed, and its conversion into the public errors.

use std::sync::Arc;

use postbell_core::{BoxError, StoreError};
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
            Failure::Sqlite(error) => Self::Unavailable(error.into()),
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
