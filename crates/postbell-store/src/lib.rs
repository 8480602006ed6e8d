//! The ports of `postbell-core` that keep data, on SQLite: durable, with many writes in one commit.
//!
//! Only [`Store`], its [`StoreOptions`] and its errors are public: no other crate knows how anything
//! is stored. Start reading at `sqlite/database.rs`; the files beside it have the statements of each
//! table, `sqlite/writer.rs` is the thread that commits, and `sqlite/schema.rs` says how a schema
//! changes. `at_rest.rs` encrypts credentials.

mod at_rest;
mod columns;
mod options;
mod sqlite;

use std::path::Path;
use std::sync::Arc;

use postbell_core::{
    AlertOutbox, AlertTargets, BoxError, Credentials, DeliveryLog, DeliveryQueue, OrphanedMachines,
    Sessions, Users,
};

pub use crate::at_rest::KeyRing;
use crate::at_rest::Secrets;
pub use crate::options::StoreOptions;
pub use crate::sqlite::Migrated;
use crate::sqlite::{Database, SqliteAlerts, SqliteDeliveries, SqliteSessions, SqliteUsers};

/// What one file holds. All ports of one store, and its clones, share its writer.
#[derive(Clone)]
pub struct Store {
    database: Arc<Database>,
    keys: Option<Arc<KeyRing>>,
}

impl Store {
    /// Opens the store that `url` names: `sqlite:` and a path.
    ///
    /// Blocks on the disk: call it before serving, not while.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. A file that is not ours, damaged or of an incompatible version stays as it is.
    pub fn open(url: &str, options: StoreOptions) -> Result<Self, OpenError> {
        let path = path(url)?;
        if !options.create {
            must_exist(path)?;
        }
        Ok(Self {
            database: Arc::new(Database::open(path, &options)?),
            keys: options.keys.map(Arc::new),
        })
    }

    /// Brings an existing store to the schema of this version of Postbell.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn migrate(url: &str) -> Result<Migrated, OpenError> {
        let path = path(url)?;
        must_exist(path)?;
        sqlite::migrate(path)
    }

    /// The delivery queue.
    #[must_use]
    pub fn queue(&self) -> Arc<dyn DeliveryQueue> {
        Arc::new(SqliteDeliveries::new(Arc::clone(&self.database)))
    }

    /// The log of the delivery queue.
    #[must_use]
    pub fn log(&self) -> Arc<dyn DeliveryLog> {
        Arc::new(SqliteDeliveries::new(Arc::clone(&self.database)))
    }

    /// The users' records.
    #[must_use]
    pub fn users(&self) -> Arc<dyn Users> {
        Arc::new(self.sqlite_users())
    }

    /// The credentials of the users' Google accounts.
    #[must_use]
    pub fn credentials(&self) -> Arc<dyn Credentials> {
        Arc::new(self.sqlite_users())
    }

    /// Managed machines without a user.
    #[must_use]
    pub fn orphaned_machines(&self) -> Arc<dyn OrphanedMachines> {
        Arc::new(self.sqlite_users())
    }

    fn sqlite_users(&self) -> SqliteUsers {
        let secrets = Secrets::new("credentials", self.keys.clone());
        SqliteUsers::new(Arc::clone(&self.database), secrets)
    }

    /// Alerts that wait to be sent, and the last report about each subject.
    #[must_use]
    pub fn alert_outbox(&self) -> Arc<dyn AlertOutbox> {
        Arc::new(self.sqlite_alerts())
    }

    /// The users' alert targets. They can be read and written only with the keys of the credentials.
    #[must_use]
    pub fn alert_targets(&self) -> Arc<dyn AlertTargets> {
        Arc::new(self.sqlite_alerts())
    }

    fn sqlite_alerts(&self) -> SqliteAlerts {
        let secrets = Secrets::new("alert target", self.keys.clone());
        SqliteAlerts::new(Arc::clone(&self.database), secrets)
    }

    /// Sign-in links and ended sessions.
    #[must_use]
    pub fn sessions(&self) -> Arc<dyn Sessions> {
        Arc::new(SqliteSessions::new(Arc::clone(&self.database)))
    }
}

/// Checks that `url` names a store that could be opened. Opens and creates nothing.
///
/// # Errors
///
/// [`OpenError::UnknownScheme`] or [`OpenError::NoFolder`].
pub fn check(url: &str) -> Result<(), OpenError> {
    let path = path(url)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if path.is_dir() || !folder.unwrap_or(Path::new(".")).is_dir() {
        return Err(OpenError::NoFolder);
    }
    Ok(())
}

fn path(url: &str) -> Result<&Path, OpenError> {
    let path = url.strip_prefix("sqlite:").filter(|path| !path.is_empty());
    path.map(Path::new).ok_or(OpenError::UnknownScheme)
}

fn must_exist(path: &Path) -> Result<(), OpenError> {
    match path.try_exists() {
        Ok(false) => Err(OpenError::Missing),
        _ => Ok(()),
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no known kind of store.
    #[error("expected the form sqlite:PATH")]
    UnknownScheme,

    /// The path names a folder, or a file in a folder that does not exist.
    #[error("expected the path of a file in an existing folder")]
    NoFolder,

    /// The file does not exist, and was not to be created.
    #[error(
        "the file does not exist: check the path, or start the relay or the platform with this configuration"
    )]
    Missing,

    /// The schema is older than this version needs, and was not to be migrated.
    #[error(
        "the database has schema version {found} and this postbell needs version {ours}: run `postbell migrate`"
    )]
    TooOld {
        /// The file's version.
        found: u32,
        /// The version of this code.
        ours: u32,
    },

    /// The schema is newer than this version can work with.
    #[error(
        "the database has schema version {found}, which needs a postbell with version {needs} or later, and this \
         one has version {ours}: install a newer postbell"
    )]
    TooNew {
        /// The file's version.
        found: u32,
        /// The oldest version whose code can work with the file.
        needs: u32,
        /// The version of this code.
        ours: u32,
    },

    /// The file is not a database, or is damaged. It was not changed.
    #[error("the file is not a postbell database, or is damaged: restore it, or name another file")]
    Damaged(#[source] BoxError),

    /// The file cannot be opened, read or written.
    #[error(
        "the database cannot be opened: check that its folder exists, its permissions and the free space"
    )]
    Unavailable(#[source] BoxError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_file_in_an_existing_folder() {
        let folder = tempfile::tempdir().unwrap();
        let shown = folder.path().display();
        check(&format!("sqlite:{shown}/new.db")).unwrap();
        check("sqlite:new.db").unwrap();
        for (wrong, has_no_folder) in [
            (format!("sqlite:{shown}"), true),
            (format!("sqlite:{shown}/nowhere/new.db"), true),
            ("sqlite:".to_owned(), false),
            ("redis".to_owned(), false),
            ("postgres://u:p@h/db".to_owned(), false),
        ] {
            let error = check(&wrong).unwrap_err();
            let is_no_folder = matches!(error, OpenError::NoFolder);
            assert_eq!(is_no_folder, has_no_folder, "{wrong}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
