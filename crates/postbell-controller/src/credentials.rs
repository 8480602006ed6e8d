//! The Google account's credentials on the disk: the folder of `gog`, which its own program and
//! Postbell's watcher read.

use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use postbell_core::{BoxError, HistoryId, Timestamp};
use postbell_protocol::tarball::{FOLDER, KEYRING_PASSWORD, UnpackError, unpack};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tempfile::TempDir;
use tracing::warn;

use crate::Variables;
use crate::settings::GmailSettings;

/// Whose lock says that a controller has this home. It lies beside the folder, and is empty.
const LOCK: &str = ".gogcli.lock";

/// What the name of a folder begins with that is not whole yet, or not gone yet.
const UNFINISHED: &str = ".gogcli-";

/// The variable with the password of the keyring.
const PASSWORD: &str = "GOG_KEYRING_PASSWORD";

/// What the watcher remembers of an account, which only the watcher knows to read: its state lies in
/// the folder of `gog`.
pub trait WatcherMemory: Send + Sync {
    /// Takes what is remembered from the folder `old` of `gog` into the folder `new`, unless what is
    /// there got further.
    ///
    /// # Errors
    ///
    /// What kept it from being taken; `new` is as it was then.
    fn carry_over(&self, old: &Path, new: &Path, account: &str) -> Result<(), BoxError>;

    /// Raises the history id in the folder `gog` to `delivered`, where that is greater.
    ///
    /// # Errors
    ///
    /// What kept it from being raised; it is as it was then.
    fn raise(&self, gog: &Path, account: &str, delivered: HistoryId) -> Result<(), BoxError>;

    /// Returns when the watch ends, as the folder `gog` says, or `None` where it does not. The
    /// watcher may be running. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// What kept it from being read.
    fn watch_expires_at(&self, gog: &Path, account: &str) -> Result<Option<Timestamp>, BoxError>;
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// Nobody says where the folder is.
    #[error("HOME: expected the folder of the user, an absolute path")]
    NoHome,

    /// The home is another controller's, which runs.
    #[error("another controller runs with this HOME: give each a home of its own")]
    InUse,

    /// The tarball was not unpacked.
    #[error("KILOCLAW_GOG_CONFIG_TARBALL is refused")]
    Refused(#[from] UnpackError),

    /// The disk does not do it.
    #[error("{folder} cannot be replaced")]
    Disk {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// This process has the home as long as the value lives, whatever ends it.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

/// The folder of `gog`.
#[derive(Clone, Debug)]
pub(crate) struct GogFolder {
    folder: PathBuf,
}

impl GogFolder {
    /// The folder at `path`; `None` where nobody says where it is.
    ///
    /// # Errors
    ///
    /// [`CredentialsError::NoHome`]
    pub(crate) fn at(path: Option<PathBuf>) -> Result<Self, CredentialsError> {
        let folder = path.ok_or(CredentialsError::NoHome)?;
        Ok(Self { folder })
    }

    /// Puts the credentials of the tarball in the place of what is there, in one step: whoever looks
    /// finds the old ones whole, or the new ones. Where the new ones are refused the old ones stay,
    /// with what the watcher remembers beside them, for the next start. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]
    pub(crate) fn install(
        &self,
        gmail: &GmailSettings,
        memory: &dyn WatcherMemory,
    ) -> Result<Held, CredentialsError> {
        fs::create_dir_all(self.parent()).map_err(|source| self.disk(source))?;
        let held = self.hold()?;
        self.remove_unfinished();
        let fresh = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(self.parent())
            .map_err(|source| self.disk(source))?;
        unpack(&gmail.tarball, fresh.path(), FOLDER)?;
        remember(gmail, memory, &self.folder, &fresh.path().join(FOLDER));
        self.exchange(fresh).map_err(|source| self.disk(source))?;
        Ok(held)
    }

    /// Removes credentials that are there: no account is connected. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]
    pub(crate) fn remove(&self) -> Result<Option<Held>, CredentialsError> {
        if fs::symlink_metadata(&self.folder).is_err() {
            return Ok(None);
        }
        let held = self.hold()?;
        self.remove_unfinished();
        self.remove_folder().map_err(|source| self.disk(source))?;
        Ok(Some(held))
    }

    /// Takes the home, in which no two controllers may exchange one another's credentials.
    fn hold(&self) -> Result<Held, CredentialsError> {
        let lock = self.parent().join(LOCK);
        let lock = File::options()
            .append(true)
            .create(true)
            .open(lock)
            .map_err(|source| self.disk(source))?;
        match lock.try_lock() {
            Ok(()) => Ok(Held { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(CredentialsError::InUse),
            Err(TryLockError::Error(source)) => Err(self.disk(source)),
        }
    }

    fn parent(&self) -> &Path {
        self.folder.parent().unwrap_or(Path::new("/"))
    }

    /// Removes what a start that was cut short has left.
    fn remove_unfinished(&self) {
        let entries = fs::read_dir(self.parent()).into_iter().flatten().flatten();
        let unfinished = entries.filter(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
        });
        for entry in unfinished {
            // It is in nobody's way; the next start tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }

    /// Exchanges the folder for the one in `fresh`; what was there goes with `fresh`.
    fn exchange(&self, fresh: TempDir) -> io::Result<()> {
        let unpacked = fresh.path().join(FOLDER);
        match renameat_with(CWD, &unpacked, CWD, &self.folder, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::NOENT) => fs::rename(&unpacked, &self.folder)?,
            // A file system that cannot exchange: for a moment there is nothing.
            Err(Errno::INVAL | Errno::NOSYS) => {
                self.remove_folder()?;
                fs::rename(&unpacked, &self.folder)?;
            }
            Err(error) => return Err(error.into()),
        }
        File::open(self.parent())?.sync_all()?;
        // The new ones are in their place: what cannot be removed now is in nobody's way.
        let _ = fresh.close();
        Ok(())
    }

    /// A link in the folder's place is removed, and not what it leads to.
    fn remove_folder(&self) -> io::Result<()> {
        let removed = match fs::symlink_metadata(&self.folder) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&self.folder),
            Ok(_) => fs::remove_file(&self.folder),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn disk(&self, source: io::Error) -> CredentialsError {
        CredentialsError::Disk {
            folder: self.folder.clone(),
            source,
        }
    }
}

/// Brings over what the watcher remembers. Where that fails mail may come twice, and none is lost:
/// the start goes on.
fn remember(gmail: &GmailSettings, memory: &dyn WatcherMemory, old: &Path, new: &Path) {
    let account = &gmail.account;
    if let Err(error) = memory.carry_over(old, new, account) {
        let error: &dyn Error = &*error;
        warn!(error, "The watcher starts without what it remembered");
    }
    let raised = match &gmail.last_history_id {
        Ok(None) => return,
        Ok(Some(delivered)) => memory.raise(new, account, *delivered),
        Err(problem) => Err(problem.clone().into()),
    };
    if let Err(error) = raised {
        let error: &dyn Error = &*error;
        warn!(
            error,
            "The watcher starts without what the platform knows to be delivered"
        );
    }
}

/// What `gog` and the watcher find in their variables: where the credentials are, and whose they
/// are; or, without an account, nothing of the kind.
#[must_use]
pub(crate) fn variables_for(mut variables: Variables, gmail: Option<&GmailSettings>) -> Variables {
    // The children have the folder: they need no second copy, which others could read.
    variables.remove("KILOCLAW_GOG_CONFIG_TARBALL");
    let Some(gmail) = gmail else {
        for name in ["GOG_KEYRING_BACKEND", PASSWORD, "GOG_ACCOUNT"] {
            variables.remove(name);
        }
        return variables;
    };
    if variables.get(PASSWORD).is_none_or(OsStr::is_empty) {
        variables.set(PASSWORD, KEYRING_PASSWORD);
    }
    variables
        .with("GOG_KEYRING_BACKEND", "file")
        .with("GOG_ACCOUNT", gmail.account.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_one_controllers_until_that_has_ended() {
        let home = tempfile::tempdir().unwrap();
        let folder = GogFolder::at(Some(home.path().join("gogcli"))).unwrap();
        let first = folder.hold().unwrap();
        assert!(matches!(folder.hold(), Err(CredentialsError::InUse)));
        drop(first);
        folder.hold().unwrap();
    }
}
