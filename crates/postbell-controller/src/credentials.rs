//! The Google account's credentials on the disk: the folder of `gog`, which its own program and
//! Postbell's watcher read.

mod tarball;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use postbell_core::{BoxError, HistoryId};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

pub use self::tarball::{Refused, unpack};
use crate::Variables;
use crate::settings::GmailSettings;

/// The folder of `gog` in the user's folder of configurations.
const FOLDER: &str = "gogcli";

/// What the name of a folder begins with that is not whole yet, or not gone yet.
const UNFINISHED: &str = ".gogcli-";

/// The password of the keyring in the tarball: a fixed word of KiloClaw's, and no secret.
const KEYRING_PASSWORD: &str = "kiloclaw";

/// Brings what the watcher remembers of an account from the old folder of `gog` into the new one,
/// and raises its history id to the one given, where that is greater.
///
/// Handed in, because only the watcher knows what it remembers.
pub type CarryOver =
    dyn Fn(&Path, &Path, &str, Option<HistoryId>) -> Result<(), BoxError> + Send + Sync;

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// Nobody says where the user's folders are.
    #[error("HOME: expected the folder of the user, an absolute path")]
    NoHome,

    /// The tarball was not unpacked.
    #[error("KILOCLAW_GOG_CONFIG_TARBALL: {0}")]
    Refused(#[from] Refused),

    /// What the watcher remembers was not brought over.
    #[error("what the watcher remembers cannot be brought over")]
    Memory(#[source] BoxError),

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

/// Puts the credentials of the tarball in the place of what was there, in one step: whoever looks
/// finds the old ones whole, or the new ones. Where the new ones are refused the old ones stay, with
/// what the watcher remembers beside them, for the next start. Blocks on the disk.
///
/// # Errors
///
/// [`CredentialsError`]
pub(crate) fn install(
    gmail: &GmailSettings,
    variables: &Variables,
    carry_over: &CarryOver,
) -> Result<(), CredentialsError> {
    let folders = Folders::of(variables)?;
    folders.make_parent()?;
    folders.remove_unfinished();
    let fresh = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(&folders.parent)
        .map_err(|source| folders.disk(source))?;
    unpack(&gmail.tarball, fresh.path(), FOLDER)?;
    let fresh_folder = fresh.path().join(FOLDER);
    carry_over(
        &folders.folder,
        &fresh_folder,
        &gmail.account,
        gmail.last_history_id,
    )
    .map_err(CredentialsError::Memory)?;
    folders
        .replace(fresh)
        .map_err(|source| folders.disk(source))
}

/// Removes credentials that are there: no account is connected. Blocks on the disk.
///
/// # Errors
///
/// [`CredentialsError`]
pub(crate) fn remove(variables: &Variables) -> Result<(), CredentialsError> {
    let folders = match Folders::of(variables) {
        Err(CredentialsError::NoHome) => return Ok(()),
        folders => folders?,
    };
    folders.remove_unfinished();
    folders.remove()
}

/// What `gog` and the watcher find in their variables: where the credentials are, and whose they
/// are; or, without an account, nothing of the kind.
#[must_use]
pub(crate) fn variables_for(mut variables: Variables, gmail: Option<&GmailSettings>) -> Variables {
    // The children have the folder: they need no second copy, which others could read.
    variables.remove("KILOCLAW_GOG_CONFIG_TARBALL");
    let Some(gmail) = gmail else {
        for name in ["GOG_KEYRING_BACKEND", "GOG_KEYRING_PASSWORD", "GOG_ACCOUNT"] {
            variables.remove(name);
        }
        return variables;
    };
    if gmail.keyring_password.is_none() {
        variables.set("GOG_KEYRING_PASSWORD", KEYRING_PASSWORD);
    }
    variables
        .with("GOG_KEYRING_BACKEND", "file")
        .with("GOG_ACCOUNT", gmail.account.as_str())
}

/// Where the folder of `gog` is.
struct Folders {
    parent: PathBuf,
    folder: PathBuf,
}

impl Folders {
    /// The place where `gog` looks, as Go's `os.UserConfigDir` has it.
    fn of(variables: &Variables) -> Result<Self, CredentialsError> {
        let absolute = |name| {
            let folder = variables.filled(name).map(PathBuf::from);
            folder.filter(|folder| folder.is_absolute())
        };
        let parent = match absolute("XDG_CONFIG_HOME") {
            Some(parent) => parent,
            None => absolute("HOME")
                .ok_or(CredentialsError::NoHome)?
                .join(".config"),
        };
        let folder = parent.join(FOLDER);
        Ok(Self { parent, folder })
    }

    fn make_parent(&self) -> Result<(), CredentialsError> {
        fs::create_dir_all(&self.parent).map_err(|source| self.disk(source))
    }

    /// Removes what a start that was cut short has left.
    fn remove_unfinished(&self) {
        let entries = fs::read_dir(&self.parent).into_iter().flatten().flatten();
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
    fn replace(&self, fresh: TempDir) -> io::Result<()> {
        let unpacked = fresh.path().join(FOLDER);
        let exchanged = renameat_with(CWD, &unpacked, CWD, &self.folder, RenameFlags::EXCHANGE);
        match exchanged {
            Ok(()) => {}
            Err(rustix::io::Errno::NOENT) => fs::rename(&unpacked, &self.folder)?,
            // A file system that cannot exchange: for a moment there is nothing.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                self.remove_folder()?;
                fs::rename(&unpacked, &self.folder)?;
            }
            Err(error) => return Err(error.into()),
        }
        fs::File::open(&self.parent)?.sync_all()?;
        fresh.close()
    }

    fn remove(&self) -> Result<(), CredentialsError> {
        self.remove_folder().map_err(|source| self.disk(source))
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
