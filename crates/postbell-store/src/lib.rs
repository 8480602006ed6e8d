//! The [`Inbox`], the [`Users`] and the [`Sessions`] on SQLite: durable, with many writes sharing one commit.
//!
//! Nothing but the ways to open them is seen from outside: no other crate knows how anything is
//! stored. Start reading at `sqlite.rs`; a file there has the statements of each table, and
//! `sqlite/writer.rs` is the thread that commits. `vault.rs` encrypts what is secret.

mod sqlite;
mod vault;

use std::path::Path;
use std::sync::Arc;

use postbell_core::{BoxError, Inbox, Sessions, Users};

use crate::sqlite::{SqliteInbox, SqliteSessions, SqliteUsers};
pub use crate::vault::KeyRing;

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
    Ok(Arc::new(SqliteInbox::open(existing(url)?)?))
}

/// Opens the users' records that `url` names, and makes them where there are none yet.
///
/// What older keys of the ring have encrypted is encrypted with its first one on the way. Blocks on
/// the disk: call it before serving, not while.
///
/// # Errors
///
/// [`OpenError`] says what stands in the way.
pub fn open_instances(url: &str, keys: KeyRing) -> Result<Arc<dyn Users>, OpenError> {
    Ok(Arc::new(SqliteUsers::open(path(url)?, keys)?))
}

/// Opens the users' records that `url` names, as [`open_instances`] does, but makes none where
/// there are none.
///
/// # Errors
///
/// [`OpenError`] says what stands in the way.
pub fn open_existing_instances(url: &str, keys: KeyRing) -> Result<Arc<dyn Users>, OpenError> {
    Ok(Arc::new(SqliteUsers::open(existing(url)?, keys)?))
}

/// Opens the users' records and their sign-ins, as [`open_instances`] does.
///
/// # Errors
///
/// [`OpenError`] says what stands in the way.
pub fn open_users(url: &str, keys: KeyRing) -> Result<UsersStore, OpenError> {
    let opened = SqliteUsers::open_with_sign_ins(path(url)?, keys)?;
    Ok(opened.into())
}

/// Opens the users' records and their sign-ins, as [`open_users`] does, but makes none where there
/// are none.
///
/// # Errors
///
/// [`OpenError`] says what stands in the way.
pub fn open_existing_users(url: &str, keys: KeyRing) -> Result<UsersStore, OpenError> {
    let opened = SqliteUsers::open_with_sign_ins(existing(url)?, keys)?;
    Ok(opened.into())
}

/// Opens all that one file holds, for a process that needs both.
///
/// # Errors
///
/// [`OpenError`] says what stands in the way.
pub fn open_both(url: &str, keys: KeyRing) -> Result<Both, OpenError> {
    let (inbox, instances, sign_ins) = SqliteInbox::open_with_instances(path(url)?, keys)?;
    Ok(Both {
        inbox: Arc::new(inbox),
        users: (instances, sign_ins).into(),
    })
}

/// What one file holds.
pub struct Both {
    /// Where notifications wait.
    pub inbox: Arc<dyn Inbox>,
    /// Who waits for them.
    pub users: UsersStore,
}

/// What is stored of users.
pub struct UsersStore {
    /// One record a user.
    pub instances: Arc<dyn Users>,
    /// Who may sign in by a link, and whose sessions have been ended.
    pub sign_ins: Arc<dyn Sessions>,
}

impl From<(SqliteUsers, SqliteSessions)> for UsersStore {
    fn from((instances, sign_ins): (SqliteUsers, SqliteSessions)) -> Self {
        Self {
            instances: Arc::new(instances),
            sign_ins: Arc::new(sign_ins),
        }
    }
}

/// Finds out whether `url` names a store that could be opened. Opens none, and makes none.
///
/// # Errors
///
/// [`OpenError::UnknownScheme`], or [`OpenError::NoPlace`].
pub fn check(url: &str) -> Result<(), OpenError> {
    let path = path(url)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if path.is_dir() || !folder.unwrap_or(Path::new(".")).is_dir() {
        return Err(OpenError::NoPlace);
    }
    Ok(())
}

fn path(url: &str) -> Result<&Path, OpenError> {
    let path = url.strip_prefix("sqlite:").filter(|path| !path.is_empty());
    path.map(Path::new).ok_or(OpenError::UnknownScheme)
}

fn existing(url: &str) -> Result<&Path, OpenError> {
    let path = path(url)?;
    if path.try_exists().is_ok_and(|exists| !exists) {
        return Err(OpenError::Missing);
    }
    Ok(path)
}

/// Why a file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no kind of store that we have.
    #[error("expected the form sqlite:PATH")]
    UnknownScheme,

    /// There can be no such file.
    #[error("expected the path of a file in a folder that there is")]
    NoPlace,

    /// There is no such file.
    #[error("there is no such file: has the relay or the platform run with this configuration?")]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_file_in_a_folder_that_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let shown = folder.path().display();
        check(&format!("sqlite:{shown}/new.db")).unwrap();
        check("sqlite:new.db").unwrap();
        for (wrong, is_place) in [
            (format!("sqlite:{shown}"), true),
            (format!("sqlite:{shown}/nowhere/new.db"), true),
            ("sqlite:".to_owned(), false),
            ("redis".to_owned(), false),
            ("postgres://u:p@h/db".to_owned(), false),
        ] {
            let error = check(&wrong).unwrap_err();
            assert_eq!(matches!(error, OpenError::NoPlace), is_place, "{wrong}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
