//! The [`Inbox`] on SQLite, durable, with many pushes sharing one commit.
//!
//! Nothing but [`open`] and its error is seen from outside: no other crate knows how a notification
//! is stored. Start reading at `sqlite.rs`; a file there has the
//! statements of each table, and `sqlite/writer.rs` is the thread that commits.

mod sqlite;

use std::path::Path;
use std::sync::Arc;

use postbell_core::{BoxError, Inbox};

use crate::sqlite::SqliteInbox;

/// Opens the inbox that `url` names, and makes it where there is none yet.
///
/// `url` is `sqlite:` and a path. Blocks on the disk: call it before serving, not while.
///
/// # Errors
///
/// [`OpenError`] says what stands in the way. A file that is not ours, damaged or of a later
/// version is left as it is.
pub fn open(url: &str) -> Result<Arc<dyn Inbox>, OpenError> {
    Ok(Arc::new(SqliteInbox::open(path(url)?)?))
}

/// Opens the inbox that `url` names, as [`open`] does, but makes none where there is none.
///
/// # Errors
///
/// [`OpenError`] says what stands in the way.
pub fn open_existing(url: &str) -> Result<Arc<dyn Inbox>, OpenError> {
    let path = path(url)?;
    if path.try_exists().is_ok_and(|exists| !exists) {
        return Err(OpenError::Missing);
    }
    Ok(Arc::new(SqliteInbox::open(path)?))
}

fn path(url: &str) -> Result<&Path, OpenError> {
    let path = url.strip_prefix("sqlite:").filter(|path| !path.is_empty());
    path.map(Path::new).ok_or(OpenError::UnknownScheme)
}

/// Why an inbox cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no kind of inbox that we have.
    #[error("expected an inbox of the form sqlite:PATH")]
    UnknownScheme,

    /// There is no such file.
    #[error("there is no such file: has the relay run with this configuration?")]
    Missing,

    /// The file was written by a later version of Postbell.
    #[error("the database was written by a later version of postbell: update this one")]
    TooNew,

    /// The file is not a database, or is damaged. It was not touched.
    #[error("the file is no postbell database, or is damaged; restore it, or name another file")]
    Damaged(#[source] BoxError),

    /// The file cannot be opened, read or written.
    #[error(
        "the database cannot be opened for writing: check that its folder exists, its permissions and the free space"
    )]
    Unavailable(#[source] BoxError),
}
