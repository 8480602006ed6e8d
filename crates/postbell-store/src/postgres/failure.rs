//! Why a statement failed, and its conversion into the public errors.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use postbell_core::{BoxError, StoreError};
use tokio_postgres::error::{DbError, SqlState};

use crate::OpenError;

/// Why a read or write failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server refused a statement.
    Sql(SqlError),
    /// The connection failed; whether a commit took effect is unknown.
    Connection(BoxError),
    /// A write took effect on this server, but not as durably as it must.
    Warned(String),
    /// A stored value is not one that this program writes.
    Corrupt {
        what: &'static str,
        source: BoxError,
    },
    /// The store was opened for reading only.
    ReadOnly,
    /// The server, its settings or its schema cannot be used.
    Unusable(BoxError),
    /// It did not end in time.
    TimedOut(&'static str),
    /// Too many calls wait.
    Overloaded(&'static str),
    /// The group of writes that this one belonged to failed.
    Group(Arc<Self>),
}

/// An error of the server, without the values of rows that its details repeat.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL reports {}: {message}", code.code())]
pub(crate) struct SqlError {
    pub(super) code: SqlState,
    /// The constraint that a row violates.
    pub(super) constraint: Option<String>,
    message: String,
}

impl SqlError {
    fn new(error: &DbError) -> Self {
        // The messages of class 22 (data exceptions) repeat the value.
        let is_about_a_value = error.code().code().starts_with("22");
        let message = if is_about_a_value {
            "a value is not accepted"
        } else {
            error.message()
        };
        let hint = match *error.code() {
            SqlState::INSUFFICIENT_PRIVILEGE => "; its role must own the database",
            SqlState::INVALID_PASSWORD => "; correct it in the URL, or on the server",
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                "; correct the URL, or let the server accept it (pg_hba.conf)"
            }
            SqlState::INVALID_CATALOG_NAME => "; create it, or correct its name in the URL",
            SqlState::LOCK_NOT_AVAILABLE => {
                "; another session, as of a backup, keeps a table locked"
            }
            _ => "",
        };
        Self {
            code: error.code().clone(),
            constraint: error.constraint().map(str::to_owned),
            message: format!("{message}{hint}"),
        }
    }
}

impl Failure {
    /// A failure for tests.
    #[cfg(test)]
    pub(super) const fn of_code(code: SqlState) -> Self {
        Self::Sql(SqlError {
            code,
            constraint: None,
            message: String::new(),
        })
    }

    /// The failure of the group, if it is shared.
    fn root(&self) -> &Self {
        match self {
            Self::Group(failure) => failure.root(),
            other => other,
        }
    }

    /// Returns whether the same transaction can succeed at once.
    pub(super) fn is_conflict(&self) -> bool {
        let conflicts = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
        ];
        matches!(self.root(), Self::Sql(error) if conflicts.contains(&error.code))
    }

    /// Returns whether the server had no space for it.
    pub(super) fn is_disk_full(&self) -> bool {
        matches!(self.root(), Self::Sql(error) if error.code == SqlState::DISK_FULL)
    }

    /// Returns whether another session kept a lock for longer than the transaction waits.
    pub(super) fn is_locked(&self) -> bool {
        matches!(self.root(), Self::Sql(error) if error.code == SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Returns whether it is about the values of one write, or about a row, so that others can succeed.
    pub(super) fn is_about_values(&self) -> bool {
        match self.root() {
            Self::Sql(error) => ["22", "23", "54"].contains(&&error.code.code()[..2]),
            other => matches!(other, Self::Corrupt { .. }),
        }
    }

    /// Returns whether every other call would fail in the same way now.
    pub(super) fn is_disconnected(&self) -> bool {
        matches!(
            self.root(),
            Self::Connection(_) | Self::Unusable(_) | Self::TimedOut(_)
        )
    }

    /// Returns whether the connection can be used again after the transaction was rolled back.
    pub(super) fn keeps_connection(&self) -> bool {
        match self.root() {
            // A statement that was prepared for another schema, or by name through a pooler that does
            // not keep it.
            Self::Sql(error) => !["0A", "26"].contains(&&error.code.code()[..2]),
            other => matches!(other, Self::Corrupt { .. }),
        }
    }

    /// Returns whether a row violates the unique constraint or index with this name.
    pub(super) fn violates(&self, constraint: &str) -> bool {
        matches!(self.root(), Self::Sql(error)
            if error.code == SqlState::UNIQUE_VIOLATION && error.constraint.as_deref() == Some(constraint))
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(error) => Self::Sql(SqlError::new(error)),
            None => Self::Connection(error.into()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(error) => error.fmt(f),
            Self::Connection(_) => f.write_str("the connection to PostgreSQL failed"),
            Self::Warned(warning) => write!(f, "PostgreSQL warned about a write: {warning}"),
            Self::Corrupt { what, .. } => write!(f, "the stored {what} cannot be read"),
            Self::ReadOnly => f.write_str("the store is open for reading only"),
            Self::Unusable(_) => f.write_str("PostgreSQL cannot be used"),
            Self::TimedOut(what) | Self::Overloaded(what) => f.write_str(what),
            Self::Group(failure) => failure.fmt(f),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connection(source) | Self::Unusable(source) | Self::Corrupt { source, .. } => {
                Some(&**source)
            }
            Self::Group(failure) => failure.source(),
            _ => None,
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Corrupt { what, source } => Self::Corrupt { what, source },
            Failure::Group(shared) => match &*shared {
                Failure::Corrupt { what, source } => Self::Corrupt {
                    what,
                    source: source.to_string().into(),
                },
                _ => Self::Unavailable(shared.into()),
            },
            other => Self::Unavailable(other.into()),
        }
    }
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        match failure {
            // An error that is already one of opening keeps its words.
            Failure::Unusable(error) => match error.downcast::<Self>() {
                Ok(error) => *error,
                Err(error) => Self::Unreachable(error),
            },
            other => Self::Unreachable(StoreError::from(other).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_failure_is_judged_like_its_cause() {
        let shared = |code| Failure::Group(Arc::new(Failure::of_code(code)));
        let full = shared(SqlState::DISK_FULL);
        assert!(full.is_disk_full() && full.keeps_connection());
        assert!(shared(SqlState::T_R_DEADLOCK_DETECTED).is_conflict());
        assert!(shared(SqlState::STRING_DATA_RIGHT_TRUNCATION).is_about_values());
        assert!(!shared(SqlState::FEATURE_NOT_SUPPORTED).keeps_connection());
        let lost = Failure::Group(Arc::new(Failure::TimedOut("too long")));
        assert!(lost.is_disconnected() && !lost.keeps_connection());
    }
}
