//! Why a statement failed, and its conversion into the public errors.

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
        Self {
            code: error.code().clone(),
            constraint: error.constraint().map(str::to_owned),
            message: message.to_owned(),
        }
    }
}

impl Failure {
    /// Returns whether the same transaction can succeed at once.
    pub(super) fn is_conflict(&self) -> bool {
        let conflicts = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
        ];
        matches!(self, Self::Sql(error) if conflicts.contains(&error.code))
    }

    /// Returns whether a row violates the unique constraint or index with this name.
    pub(super) fn violates(&self, constraint: &str) -> bool {
        matches!(self, Self::Sql(error)
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

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(match failure {
            Failure::Corrupt { what, source } => return Self::Corrupt { what, source },
            Failure::Sql(error) => error.into(),
            Failure::Connection(error) | Failure::Unusable(error) => error,
            Failure::Warned(warning) => {
                format!("PostgreSQL warned about a write: {warning}").into()
            }
            Failure::ReadOnly => "the store is open for reading only".into(),
            Failure::TimedOut(what) | Failure::Overloaded(what) => what.into(),
        })
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
