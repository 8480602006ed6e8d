//! The ports of `postbell-core` that keep data, on SQLite or PostgreSQL: durable, with many writes in one
//! commit.
//!
//! Only [`Store`], its [`StoreOptions`] and its errors are public: no other crate knows how anything
//! is stored. Start reading at `sqlite/database.rs`; the files beside it have the statements of each
//! table, `sqlite/writer.rs` is the thread that commits, and `sqlite/schema.rs` says how a schema
//! changes. `postgres/` is the same for several machines. `at_rest.rs` encrypts credentials.

mod accounts;
mod at_rest;
mod audited;
mod backup;
mod columns;
mod copy;
mod loaded_mailbox;
mod mailbox;
mod options;
mod postgres;
mod revocation;
mod sqlite;
mod writer_health;

use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{
    AccessTokens, Actor, AlertOutbox, AlertTargets, AuditLog, AuditedPorts, BoxError, Credentials,
    DatabaseState, DeliveryLog, DeliveryQueue, OrphanedMachines, PendingRevocations, Sessions,
    StoreError, Users,
};

pub use crate::at_rest::KeyRing;
use crate::at_rest::Secrets;
pub use crate::backup::{Backup, BackupError, NamedKey, Restored, backup, fingerprint, restore};
pub use crate::copy::{Copied, CopiedTable, CopyError, CopyProgress, ReplacedTexts, copy};
pub use crate::options::StoreOptions;
use crate::postgres::{
    PostgresAlerts, PostgresAudit, PostgresDeliveries, PostgresRevocations, PostgresSessions,
    PostgresTokens, PostgresUsers,
};
pub use crate::sqlite::Migrated;
use crate::sqlite::{
    SqliteAlerts, SqliteAudit, SqliteDeliveries, SqliteRevocations, SqliteSessions, SqliteTokens,
    SqliteUsers,
};

/// What one file or database holds. All ports of one store, and its clones, share its writer or its
/// connections.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
    keys: Option<Arc<KeyRing>>,
}

#[derive(Clone)]
enum Engine {
    Sqlite(Arc<sqlite::Database>),
    Postgres(Arc<postgres::Database>),
}

/// What a URL names.
enum Location {
    /// The path is not that of a symbolic link.
    File(PathBuf),
    Postgres(Box<postgres::Target>),
}

impl Store {
    /// Opens the store that `url` names: `sqlite:` and a path, or the `postgres://` URL of a database.
    ///
    /// Blocks on the disk: call it before serving, not while. Connects to no database: that happens when
    /// the store is first used, and its calls fail while the database is unavailable.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. A file that is not ours, damaged or of an incompatible version stays as it is.
    pub fn open(url: &str, options: StoreOptions) -> Result<Self, OpenError> {
        let engine = match locate(url)? {
            Location::File(path) => {
                if !options.create {
                    must_exist(&path)?;
                }
                Engine::Sqlite(Arc::new(sqlite::Database::open(&path, &options)?))
            }
            Location::Postgres(target) => {
                Engine::Postgres(Arc::new(postgres::Database::open(*target, &options)?))
            }
        };
        Ok(Self {
            engine,
            keys: options.keys,
        })
    }

    /// Brings an existing store to the schema of this version of Postbell. A PostgreSQL database exists
    /// even if it is empty.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn migrate(url: &str) -> Result<Migrated, OpenError> {
        match locate(url)? {
            Location::File(path) => {
                must_exist(&path)?;
                sqlite::migrate(&path)
            }
            Location::Postgres(target) => postgres::migrate(&target),
        }
    }

    /// Connects to the server of a store, and returns what its operator should know; `None` for a file. A
    /// transaction's snapshot is too old after `oldest`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the database cannot be reached, its settings are refused, its schema is not of
    /// this version, or the disk of a file is full.
    pub async fn inspect(&self, oldest: Duration) -> Result<Option<DatabaseState>, StoreError> {
        match &self.engine {
            Engine::Sqlite(database) => database.check_space().map(|()| None),
            Engine::Postgres(database) => database.inspect(oldest).await.map(Some),
        }
    }

    /// The delivery queue.
    #[must_use]
    pub fn queue(&self) -> Arc<dyn DeliveryQueue> {
        match &self.engine {
            Engine::Sqlite(database) => Arc::new(SqliteDeliveries::new(Arc::clone(database), None)),
            Engine::Postgres(database) => {
                Arc::new(PostgresDeliveries::new(Arc::clone(database), None))
            }
        }
    }

    /// The log of the delivery queue.
    #[must_use]
    pub fn log(&self) -> Arc<dyn DeliveryLog> {
        self.log_for(None)
    }

    fn log_for(&self, by: Option<Actor>) -> Arc<dyn DeliveryLog> {
        match &self.engine {
            Engine::Sqlite(database) => Arc::new(SqliteDeliveries::new(Arc::clone(database), by)),
            Engine::Postgres(database) => {
                Arc::new(PostgresDeliveries::new(Arc::clone(database), by))
            }
        }
    }

    /// The users' records.
    #[must_use]
    pub fn users(&self) -> Arc<dyn Users> {
        self.users_for(None)
    }

    fn users_for(&self, by: Option<Actor>) -> Arc<dyn Users> {
        match &self.engine {
            Engine::Sqlite(database) => Arc::new(self.sqlite_users(database, by)),
            Engine::Postgres(database) => Arc::new(self.postgres_users(database, by)),
        }
    }

    /// The credentials of the users' Google accounts.
    #[must_use]
    pub fn credentials(&self) -> Arc<dyn Credentials> {
        match &self.engine {
            Engine::Sqlite(database) => Arc::new(self.sqlite_users(database, None)),
            Engine::Postgres(database) => Arc::new(self.postgres_users(database, None)),
        }
    }

    /// Managed machines without a user.
    #[must_use]
    pub fn orphaned_machines(&self) -> Arc<dyn OrphanedMachines> {
        match &self.engine {
            Engine::Sqlite(database) => Arc::new(self.sqlite_users(database, None)),
            Engine::Postgres(database) => Arc::new(self.postgres_users(database, None)),
        }
    }

    /// Permissions at Google that are to be revoked. They can be read and written only with the keys of the credentials.
    #[must_use]
    pub fn revocations(&self) -> Arc<dyn PendingRevocations> {
        let secrets = self.secrets("permission to revoke");
        match &self.engine {
            Engine::Sqlite(database) => {
                let database = Arc::clone(database);
                Arc::new(SqliteRevocations { database, secrets })
            }
            Engine::Postgres(database) => {
                let database = Arc::clone(database);
                Arc::new(PostgresRevocations { database, secrets })
            }
        }
    }

    fn sqlite_users(&self, database: &Arc<sqlite::Database>, by: Option<Actor>) -> SqliteUsers {
        SqliteUsers::new(Arc::clone(database), self.secrets("credentials"), by)
    }

    fn postgres_users(
        &self,
        database: &Arc<postgres::Database>,
        by: Option<Actor>,
    ) -> PostgresUsers {
        PostgresUsers::new(Arc::clone(database), self.secrets("credentials"), by)
    }

    /// Alerts that wait to be sent, and the last report about each subject.
    #[must_use]
    pub fn alert_outbox(&self) -> Arc<dyn AlertOutbox> {
        match &self.engine {
            Engine::Sqlite(database) => Arc::new(self.sqlite_alerts(database, None)),
            Engine::Postgres(database) => Arc::new(self.postgres_alerts(database, None)),
        }
    }

    /// The users' alert targets. They can be read and written only with the keys of the credentials.
    #[must_use]
    pub fn alert_targets(&self) -> Arc<dyn AlertTargets> {
        self.alert_targets_for(None)
    }

    fn alert_targets_for(&self, by: Option<Actor>) -> Arc<dyn AlertTargets> {
        match &self.engine {
            Engine::Sqlite(database) => Arc::new(self.sqlite_alerts(database, by)),
            Engine::Postgres(database) => Arc::new(self.postgres_alerts(database, by)),
        }
    }

    fn sqlite_alerts(&self, database: &Arc<sqlite::Database>, by: Option<Actor>) -> SqliteAlerts {
        SqliteAlerts::new(Arc::clone(database), self.secrets("alert target"), by)
    }

    fn postgres_alerts(
        &self,
        database: &Arc<postgres::Database>,
        by: Option<Actor>,
    ) -> PostgresAlerts {
        PostgresAlerts::new(Arc::clone(database), self.secrets("alert target"), by)
    }

    fn secrets(&self, what: &'static str) -> Secrets {
        Secrets::new(what, self.keys.clone())
    }

    /// Sign-in links and ended sessions.
    #[must_use]
    pub fn sessions(&self) -> Arc<dyn Sessions> {
        self.sessions_for(None)
    }

    fn sessions_for(&self, by: Option<Actor>) -> Arc<dyn Sessions> {
        match &self.engine {
            Engine::Sqlite(database) => Arc::new(SqliteSessions::new(Arc::clone(database), by)),
            Engine::Postgres(database) => Arc::new(PostgresSessions::new(Arc::clone(database), by)),
        }
    }

    /// API keys of operators, and users' tokens.
    #[must_use]
    pub fn tokens(&self) -> Arc<dyn AccessTokens> {
        self.tokens_for(None)
    }

    fn tokens_for(&self, by: Option<Actor>) -> Arc<dyn AccessTokens> {
        match &self.engine {
            Engine::Sqlite(database) => {
                let database = Arc::clone(database);
                Arc::new(SqliteTokens { database, by })
            }
            Engine::Postgres(database) => {
                let database = Arc::clone(database);
                Arc::new(PostgresTokens { database, by })
            }
        }
    }
}

impl AuditedPorts for Store {
    fn users(&self, by: &Actor) -> Arc<dyn Users> {
        self.users_for(Some(by.clone()))
    }

    fn sessions(&self, by: &Actor) -> Arc<dyn Sessions> {
        self.sessions_for(Some(by.clone()))
    }

    fn tokens(&self, by: &Actor) -> Arc<dyn AccessTokens> {
        self.tokens_for(Some(by.clone()))
    }

    fn delivery_log(&self, by: &Actor) -> Arc<dyn DeliveryLog> {
        self.log_for(Some(by.clone()))
    }

    fn alert_targets(&self, by: &Actor) -> Arc<dyn AlertTargets> {
        self.alert_targets_for(Some(by.clone()))
    }

    fn audit_log(&self) -> Arc<dyn AuditLog> {
        match &self.engine {
            Engine::Sqlite(database) => Arc::new(SqliteAudit {
                database: Arc::clone(database),
            }),
            Engine::Postgres(database) => Arc::new(PostgresAudit {
                database: Arc::clone(database),
            }),
        }
    }
}

/// Returns the form of a store's URL for messages: without user, password and parameters.
#[must_use]
pub fn shown(url: &str) -> String {
    match locate(url) {
        Ok(Location::File(_)) => url.to_owned(),
        Ok(Location::Postgres(target)) => target.shown(),
        Err(_) => url
            .split_once(':')
            .map_or("", |(scheme, _)| scheme)
            .to_owned(),
    }
}

/// Checks that `url` names a store that could be opened. Opens and creates nothing, and connects to nothing.
///
/// # Errors
///
/// [`OpenError::UnknownScheme`], [`OpenError::NoFolder`] or [`OpenError::InvalidUrl`].
pub fn check(url: &str) -> Result<(), OpenError> {
    let Location::File(path) = locate(url)? else {
        return Ok(());
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if path.is_dir() || !folder.unwrap_or(Path::new(".")).is_dir() {
        return Err(OpenError::NoFolder);
    }
    Ok(())
}

fn locate(url: &str) -> Result<Location, OpenError> {
    if postgres::is_ours(url) {
        return Ok(Location::Postgres(Box::new(postgres::Target::parse(url)?)));
    }
    let path = url.strip_prefix("sqlite:");
    // A URL with its password is not the path of a file.
    let path = path.filter(|path| !path.is_empty() && !path.contains("://"));
    let path = path.ok_or(OpenError::UnknownScheme)?;
    let path = Path::new(path).to_owned();
    let file = links_from(path.clone()).last().unwrap_or(path);
    Ok(Location::File(file))
}

/// A path, and those to which symbolic links lead from it: the last one is that of the file. SQLite has the log beside
/// that file, so everything beside a store is looked for there.
fn links_from(path: PathBuf) -> impl Iterator<Item = PathBuf> {
    /// As many as Linux follows.
    const MOST_LINKS: usize = 40;
    let next = |path: &PathBuf| {
        let target = path.read_link().ok()?;
        Some(path.parent().unwrap_or(Path::new("")).join(target))
    };
    iter::successors(Some(path), next).take(MOST_LINKS + 1)
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
    #[error("expected the form sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE")]
    UnknownScheme,

    /// A PostgreSQL URL has a part that is wrong or not supported.
    #[error("expected {expected}")]
    InvalidUrl {
        /// The form that is expected. Contains no part of the URL.
        expected: &'static str,
    },

    /// The certificates of authorities that a PostgreSQL URL needs cannot be read.
    #[error(
        "the certificates of authorities cannot be read: check sslrootcert, or install ca-certificates"
    )]
    Certificates(#[source] BoxError),

    /// The PostgreSQL database cannot be reached, or its settings are refused.
    #[error("the database cannot be used")]
    Unreachable(#[source] BoxError),

    /// The PostgreSQL database has no tables, and they were not to be created.
    #[error(
        "the database has no schema: run `postbell migrate`, or start the relay or the platform with this \
         configuration"
    )]
    NoSchema,

    /// The path names a folder, or a file in a folder that does not exist.
    #[error("expected the path of a file in an existing folder")]
    NoFolder,

    /// The file does not exist, and was not to be created.
    #[error(
        "the file does not exist: check the path, or start the relay or the platform with this configuration"
    )]
    Missing,

    /// The store is the target of a copy that was interrupted or goes on.
    #[error(
        "the store contains an unfinished copy of another one: wait until `postbell store copy` is done, or run it \
         again"
    )]
    UnfinishedCopy,

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
            ("sqlite:postgres://u:s3cret@h/db".to_owned(), false),
            ("redis".to_owned(), false),
            ("postgres://".to_owned(), false),
        ] {
            let error = check(&wrong).unwrap_err();
            let is_no_folder = matches!(error, OpenError::NoFolder);
            assert_eq!(is_no_folder, has_no_folder, "{wrong}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        check("postgres://u:p@h/db").unwrap();
        assert_eq!(super::shown("sqlite:postgres://u:s3cret@h/db"), "sqlite");
        assert_eq!(super::shown("postgres://u:p@s3cret@h/db"), "postgres");
    }
}
