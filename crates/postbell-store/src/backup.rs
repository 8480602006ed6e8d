//! Backups of a file while it is used, and their return.
//!
//! A backup is itself a SQLite file: a snapshot of one moment, with a table `backup` that says when it was
//! made and with which secrets of the configuration. Secrets in it stay encrypted.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use postbell_core::{AccessToken, AuditEntry, Timestamp};
use secrecy::SecretString;

use crate::{KeyRing, Location, OpenError, links_from, locate, sqlite};

/// A secret of the configuration that belongs to a backup, by its name and its fingerprint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedKey {
    /// Its key in the configuration.
    pub name: String,
    /// Identifies it without revealing it.
    pub fingerprint: String,
}

/// What a backup contains.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backup {
    /// When it was made.
    pub made_at: Timestamp,
    /// The version of the schema.
    pub schema_version: u32,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// The number of users.
    pub users: u64,
    /// The fingerprints of the storage keys with which secrets in it are encrypted.
    pub storage_keys: Vec<String>,
    /// The other secrets of the configuration at that time.
    pub others: Vec<NamedKey>,
    /// The names of the store's triggers and views that are not Postbell's, and therefore not in a backup that was just
    /// made.
    pub left_out: Vec<String>,
}

/// A backup that was put in the place of a store.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What it contains.
    pub backup: Backup,
    /// Where the replaced file is now.
    pub replaced: Option<PathBuf>,
    /// The API keys and users' tokens that are valid in it, also those that were revoked after the backup.
    pub tokens: Vec<AccessToken>,
    /// What may have ended access after the backup, by the audit log of the replaced store, the oldest first. `None` if that
    /// is not known: there is no log, it cannot be read or does not continue that of the backup, or the backup is so old that
    /// entries since then may have been deleted.
    pub ended: Option<Vec<AuditEntry>>,
}

/// Why a backup was not made or returned.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store is a PostgreSQL database.
    #[error("the store is in PostgreSQL, which has its own programs for this")]
    Postgres,

    /// The file to write exists.
    #[error("{} exists, and is not overwritten", .0.display())]
    Exists(PathBuf),

    /// The folder of the file to write does not exist.
    #[error("cannot write {}: its folder does not exist", .0.display())]
    NoFolder(PathBuf),

    /// Another process writes the file.
    #[error("another process is writing {}: wait until it has ended", .0.display())]
    BeingWritten(PathBuf),

    /// The file is no backup of Postbell, or is damaged.
    #[error("this is not a whole backup that `postbell backup` has made: {0}")]
    NotABackup(String),

    /// The store is damaged, or its schema was changed.
    #[error("the store cannot be backed up: {0}")]
    NotWhole(String),

    /// Secrets in the backup are encrypted with a key that is not configured.
    #[error(
        "secrets in the backup are encrypted with a key whose fingerprint is {0}, which is not among \
         platform.storage_keys (or is not platform.gateway_secret, if that encrypts): add the key"
    )]
    MissingKey(String),

    /// The store's path is a symbolic link that belongs neither to root nor to this process's user, who could have it name
    /// any file.
    #[error(
        "{} is a symbolic link of another user, and is not followed: give the path of the file itself, or run this as \
         that user",
        .0.display()
    )]
    LinkOfOther(PathBuf),

    /// A process uses the store.
    #[error("a process uses the store: stop every relay and platform that does")]
    InUse,

    /// The store cannot be opened, or is of another version.
    #[error(transparent)]
    Store(#[from] OpenError),

    /// A file cannot be read or written.
    #[error("cannot write or read {}", .0.display())]
    File(PathBuf, #[source] std::io::Error),
}

/// Returns the fingerprint of a secret: for a storage key, the one that encrypted secrets carry.
#[must_use]
pub fn fingerprint(secret: &SecretString) -> String {
    KeyRing::new(secret, &[]).current().to_owned()
}

/// Writes a snapshot of a store to `file`, which must not exist. The store may be in use: what was committed
/// before is in the backup, and nothing of what is committed later.
///
/// # Errors
///
/// [`BackupError`]. Then there is no `file`.
pub fn backup(
    url: &str,
    file: &Path,
    others: &[NamedKey],
    now: Timestamp,
) -> Result<Backup, BackupError> {
    match locate(url)? {
        Location::Postgres(_) => Err(BackupError::Postgres),
        Location::File(path) => {
            crate::must_exist(&path)?;
            sqlite::backup(&path, file, others, now)
        }
    }
}

/// Puts a backup in the place of a store that no process uses. Without `replaces`, there must be no file.
///
/// Sessions and sign-in links of the backup have ended: some may have been ended after it.
///
/// # Errors
///
/// [`BackupError`]. Then the store is as it was.
pub fn restore(
    file: &Path,
    url: &str,
    keys: Option<&KeyRing>,
    replaces: bool,
    now: Timestamp,
) -> Result<Restored, BackupError> {
    match locate(url)? {
        Location::Postgres(_) => Err(BackupError::Postgres),
        Location::File(_) => sqlite::restore(file, &trusted_path(url)?, keys, replaces, now),
    }
}

/// The path of the file to which a URL leads, unless another user's link does.
fn trusted_path(url: &str) -> Result<PathBuf, BackupError> {
    const ROOT: u32 = 0;
    let trusted = [ROOT, rustix::process::geteuid().as_raw()];
    let path = PathBuf::from(url.strip_prefix("sqlite:").unwrap_or(url));
    let mut last = path.clone();
    for path in links_from(path) {
        let is_of_other = path
            .symlink_metadata()
            .is_ok_and(|it| it.is_symlink() && !trusted.contains(&it.uid()));
        if is_of_other {
            return Err(BackupError::LinkOfOther(path));
        }
        last = path;
    }
    Ok(last)
}
