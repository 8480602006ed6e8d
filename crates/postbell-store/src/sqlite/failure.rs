//! Why a statement failed, and the one translation into what callers see.

use std::sync::Arc;

use postbell_core::{BoxError, InboxError, SessionsError, UserId, UsersError};
use rusqlite::ErrorCode;
use tokio::task::JoinError;

use crate::OpenError;

/// Why a job on the database failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite could not do it.
    Sqlite(rusqlite::Error),
    /// The commit that this job shared with others failed.
    Commit(Arc<rusqlite::Error>),
    /// A stored value is none that we wrote.
    Corrupt {
        what: &'static str,
        source: BoxError,
    },
    /// The claim is not the latest one.
    LeaseLost { user: UserId },
    /// The store was opened for reading only.
    ReadOnly,
    /// The writer has more to do than it can hold, or has ended.
    Overloaded(&'static str),
    /// The thread that read has panicked.
    Panicked(JoinError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Failure> for InboxError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sqlite(error) if is_damage(&error) => Self::Corrupt {
                what: "database",
                source: error.into(),
            },
            Failure::Sqlite(error) => Self::Unavailable(error.into()),
            Failure::Commit(error) => Self::Unavailable(error.into()),
            Failure::Corrupt { what, source } => Self::Corrupt { what, source },
            Failure::LeaseLost { user } => Self::LeaseLost { user },
            Failure::ReadOnly => Self::Unavailable("the store is open for reading only".into()),
            Failure::Overloaded(why) => Self::Unavailable(why.into()),
            Failure::Panicked(error) => Self::Unavailable(error.into()),
        }
    }
}

impl From<Failure> for UsersError {
    fn from(failure: Failure) -> Self {
        match InboxError::from(failure) {
            InboxError::Corrupt { what, source } => Self::Corrupt { what, source },
            InboxError::Unavailable(error) => Self::Unavailable(error),
            lost @ InboxError::LeaseLost { .. } => Self::Unavailable(lost.into()),
        }
    }
}

impl From<Failure> for SessionsError {
    fn from(failure: Failure) -> Self {
        match InboxError::from(failure) {
            InboxError::Corrupt { what, source } => Self::Corrupt { what, source },
            InboxError::Unavailable(error) => Self::Unavailable(error),
            lost @ InboxError::LeaseLost { .. } => Self::Unavailable(lost.into()),
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
            other => Self::Unavailable(InboxError::from(other).into()),
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
