//! The Google account's credentials on disk: the configuration folder of `gog`, which `gog` and
//! Postbell's watcher read.

use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use postbell_protocol::gog_dirs::{GogDirs, watch_state_in};
use postbell_protocol::tarball::{FOLDER, KEYRING_PASSWORD, UnpackError, unpack};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tempfile::TempDir;
use tracing::warn;

use crate::Variables;
use crate::merge_state::{merge_state, raise_history_id};
use crate::settings::GmailSettings;

/// The lock file of the controller that uses this home. It is empty and beside the folder.
const LOCK: &str = ".gogcli.lock";

/// The name prefix of folders that are being unpacked or removed.
const TEMPORARY_PREFIX: &str = ".gogcli-";

/// The variable with the keyring's password.
const PASSWORD: &str = "GOG_KEYRING_PASSWORD";

/// Why the credentials could not be installed or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// `HOME` is not set or not absolute.
    #[error("HOME: expected an absolute path")]
    NoHome,

    /// Another running controller uses the same home.
    #[error("another controller runs with this HOME: give each its own")]
    InUse,

    /// The tarball is invalid.
    #[error("KILOCLAW_GOG_CONFIG_TARBALL is invalid")]
    Tarball(#[from] UnpackError),

    /// The platform cannot read the credentials, and this machine does not have them.
    #[error("the platform cannot read the credentials")]
    NotGiven,

    /// The folder could not be replaced or removed.
    #[error("{folder} cannot be replaced")]
    Disk {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Locks the home for this controller. The system releases the lock if the process is killed.
#[derive(Debug)]
pub(crate) struct HomeLock {
    _lock: File,
}

/// The configuration folder of `gog`.
#[derive(Clone, Debug)]
pub(crate) struct GogFolder {
    dirs: GogDirs,
    /// Whether it is that of a further account, which has its parent for itself.
    is_further: bool,
}

impl GogFolder {
    /// The folder in `dirs`, which are `None` if the variables do not determine them.
    ///
    /// # Errors
    ///
    /// [`CredentialsError::NoHome`]
    pub(crate) fn new(dirs: Option<GogDirs>) -> Result<Self, CredentialsError> {
        let dirs = dirs.ok_or(CredentialsError::NoHome)?;
        Ok(Self {
            dirs,
            is_further: false,
        })
    }

    /// The folder of a further account.
    pub(crate) fn of_further(&self, account: &str) -> Self {
        Self {
            dirs: self.dirs.of_further(account),
            is_further: true,
        }
    }

    /// The folders of further accounts that exist, except those of these accounts.
    pub(crate) fn further_but<'a>(&self, accounts: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        let kept = accounts.into_iter().map(|it| self.of_further(it));
        let kept: Vec<_> = kept.map(|it| it.parent().to_owned()).collect();
        let found = self.dirs.further_accounts().into_iter();
        let others = found.filter(|folder| !kept.contains(folder));
        let others = others.map(|folder| Self {
            dirs: GogDirs::at(folder.join(FOLDER)),
            is_further: true,
        });
        others.collect()
    }

    fn folder(&self) -> &Path {
        self.dirs.config()
    }

    /// Unpacks the tarball beside the folder. A watcher may run. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]
    pub(crate) fn unpack(&self, gmail: &GmailSettings) -> Result<TempDir, CredentialsError> {
        let tarball = gmail.tarball.as_ref().ok_or(CredentialsError::NotGiven)?;
        self.remove_temporary();
        let fresh = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.parent())
            .and_then(|()| {
                tempfile::Builder::new()
                    .prefix(TEMPORARY_PREFIX)
                    .tempdir_in(self.parent())
            })
            .map_err(|source| self.disk(source))?;
        unpack(tarball, fresh.path(), FOLDER)?;
        Ok(fresh)
    }

    /// Replaces the folder by the unpacked one, atomically, and keeps the watcher's state, which must not
    /// run. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]; the old folder stays for the next start.
    pub(crate) fn install(
        &self,
        gmail: &GmailSettings,
        fresh: TempDir,
    ) -> Result<(), CredentialsError> {
        keep_watch_state(gmail, &self.dirs, &fresh.path().join(FOLDER));
        self.exchange(fresh).map_err(|source| self.disk(source))
    }

    /// Removes the folder, because no account is connected. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]
    pub(crate) fn remove(&self) -> Result<(), CredentialsError> {
        let removed = if self.is_further {
            fs::remove_dir_all(self.parent())
        } else {
            self.remove_temporary();
            self.remove_folder()
        };
        removed.map_err(|source| self.disk(source))
    }

    /// Removes everything but the watcher's state. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]
    pub(crate) fn remove_credentials(&self) -> Result<(), CredentialsError> {
        self.remove_temporary();
        let disk = |source| self.disk(source);
        if !self.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(self.folder()).map_err(disk)? {
            let entry = entry.map_err(disk)?;
            if self.dirs.holds_watch_state(&entry.path()) {
                continue;
            }
            let is_folder = entry.file_type().map_err(disk)?.is_dir();
            let removed = if is_folder {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            removed.map_err(disk)?;
        }
        Ok(())
    }

    /// Whether there is a folder.
    pub(crate) fn exists(&self) -> bool {
        fs::symlink_metadata(self.folder()).is_ok()
    }

    /// Locks the home: two controllers would replace each other's credentials. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]
    pub(crate) fn lock(&self) -> Result<HomeLock, CredentialsError> {
        fs::create_dir_all(self.parent()).map_err(|source| self.disk(source))?;
        let lock = self.parent().join(LOCK);
        let lock = File::options()
            .append(true)
            .create(true)
            .open(lock)
            .map_err(|source| self.disk(source))?;
        match lock.try_lock() {
            Ok(()) => Ok(HomeLock { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(CredentialsError::InUse),
            Err(TryLockError::Error(source)) => Err(self.disk(source)),
        }
    }

    fn parent(&self) -> &Path {
        self.folder().parent().unwrap_or(Path::new("/"))
    }

    /// Removes the temporary folders of interrupted starts.
    fn remove_temporary(&self) {
        let entries = fs::read_dir(self.parent()).into_iter().flatten().flatten();
        let temporary = entries.filter(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes()
                .starts_with(TEMPORARY_PREFIX.as_bytes())
        });
        for entry in temporary {
            // The next start tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }

    /// Exchanges the folder with the one in `fresh`, which is then removed.
    fn exchange(&self, fresh: TempDir) -> io::Result<()> {
        let unpacked = fresh.path().join(FOLDER);
        match renameat_with(CWD, &unpacked, CWD, self.folder(), RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::NOENT) => fs::rename(&unpacked, self.folder())?,
            // The file system cannot exchange folders. For a moment, the folder is missing.
            Err(Errno::INVAL | Errno::NOSYS) => {
                self.remove_folder()?;
                fs::rename(&unpacked, self.folder())?;
            }
            Err(error) => return Err(error.into()),
        }
        File::open(self.parent())?.sync_all()?;
        // The next start removes the old folder if this fails.
        let _ = fresh.close();
        Ok(())
    }

    /// Removes the folder. If it is a symbolic link, only the link is removed.
    fn remove_folder(&self) -> io::Result<()> {
        let removed = match fs::symlink_metadata(self.folder()) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(self.folder()),
            Ok(_) => fs::remove_file(self.folder()),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn disk(&self, source: io::Error) -> CredentialsError {
        CredentialsError::Disk {
            folder: self.folder().to_owned(),
            source,
        }
    }
}

/// Keeps the watcher's state in the folder `new`, which is about to replace the old one. Errors are
/// only logged, because without the state mail may be delivered twice, but none is lost.
fn keep_watch_state(gmail: &GmailSettings, dirs: &GogDirs, new: &Path) {
    let account = &gmail.account;
    let (old, new) = (watch_state_in(dirs.config()), watch_state_in(new));
    if let Err(error) = merge_state(&old, &new, account) {
        let error: &dyn Error = &error;
        warn!(error, "The watcher starts without its earlier state");
    }
    // Newer versions of gog keep the state outside of the folder.
    let (own, folder) = match dirs.newer_watch_state(account) {
        Some(newer) => (newer.clone(), newer),
        None => (old, new),
    };
    let raised: Result<(), Box<dyn Error>> = match &gmail.last_history_id {
        Ok(None) => return,
        Ok(Some(delivered)) => {
            raise_history_id(&own, &folder, account, *delivered).map_err(Box::from)
        }
        Err(error) => Err(error.clone().into()),
    };
    if let Err(error) = raised {
        let error = &*error;
        warn!(error, "Could not apply KILOCLAW_GMAIL_LAST_HISTORY_ID");
    }
}

/// Sets the variables with which `gog` and the watcher find the credentials, or removes them if no
/// account is connected.
#[must_use]
pub(crate) fn child_variables(
    mut variables: Variables,
    gmail: Option<&GmailSettings>,
) -> Variables {
    // The children read the folder.
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
    fn a_home_is_locked_until_its_controller_ends() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().to_str().unwrap();
        let dirs =
            GogDirs::from_variables(|name| (name == "GOG_HOME" || name == "HOME").then_some(home));
        let folder = GogFolder::new(dirs.ok()).unwrap();
        let first = folder.lock().unwrap();
        assert!(matches!(folder.lock(), Err(CredentialsError::InUse)));
        drop(first);
        folder.lock().unwrap();
    }
}
