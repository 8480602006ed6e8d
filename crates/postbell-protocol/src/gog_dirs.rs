//! The directories of `gog` (<https://github.com/openclaw/gogcli>, `internal/config`), where Postbell
//! finds its keyring and shares the state of the watch.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use postbell_core::EmailAddress;

use crate::gog_keyring::GogKeyring;
use crate::watch_state::{self, StateFile, mailbox_of};

/// Name of gog's directory in each of the user's base directories.
const APP: &str = "gogcli";

/// The folder, beside gog's configuration directory, with the directories of further accounts of a machine.
const FURTHER: &str = ".postbell-accounts";

/// How many bytes of the hash of a mailbox's address name the folder of a further account. Paths are logged, addresses are not.
const NAME_BYTES: usize = 16;

/// Variables that move gog's directories.
pub const GOG_DIR_VARIABLES: [&str; 4] = [
    "GOG_HOME",
    "GOG_CONFIG_DIR",
    "GOG_DATA_DIR",
    "GOG_STATE_DIR",
];

/// The variable `HOME` is not set to an absolute path.
#[derive(Debug, thiserror::Error)]
#[error("expected the user's home directory in HOME")]
pub struct NoHome;

/// The directories of `gog`. Older versions have one, newer versions have one per purpose.
#[derive(Clone, Debug)]
pub struct GogDirs {
    config: PathBuf,
    data: PathBuf,
    /// Whether a variable sets `data`. Then gog does not read `config` for it.
    is_data_explicit: bool,
    state: PathBuf,
    is_state_explicit: bool,
}

impl GogDirs {
    /// Determines the directories from environment variables.
    ///
    /// # Errors
    ///
    /// [`NoHome`] if `HOME` is missing.
    pub fn from_variables<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Result<Self, NoHome> {
        let directory = |name: &str| {
            let path = PathBuf::from(variable(name)?);
            path.is_absolute().then_some(path)
        };
        let home = directory("HOME").ok_or(NoHome)?;
        let gog_home = directory("GOG_HOME");
        let explicit = |own: &str, name: &str| {
            directory(own).or_else(|| gog_home.as_ref().map(|gog_home| gog_home.join(name)))
        };
        let default = |variable: &str, below_home: &str| {
            let base = directory(variable).unwrap_or_else(|| home.join(below_home));
            base.join(APP)
        };
        let config = explicit("GOG_CONFIG_DIR", "config");
        let data = explicit("GOG_DATA_DIR", "data");
        let state = explicit("GOG_STATE_DIR", "state");
        Ok(Self {
            config: config.unwrap_or_else(|| default("XDG_CONFIG_HOME", ".config")),
            is_data_explicit: data.is_some(),
            data: data.unwrap_or_else(|| default("XDG_DATA_HOME", ".local/share")),
            is_state_explicit: state.is_some(),
            state: state.unwrap_or_else(|| default("XDG_STATE_HOME", ".local/state")),
        })
    }

    /// Returns the configuration directory, where a controller writes credentials.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Returns the directory of the watch state: that of newer versions of gog if it holds the state
    /// of the account, else that of older versions. A further webhook of a mailbox has its state beside that of the
    /// first, and a further account of a machine in its own directory.
    #[must_use]
    pub fn watch_state(&self, account: &str) -> PathBuf {
        let dirs = self.of_account(account);
        let newer = dirs.newer_watch_state(account);
        newer.unwrap_or_else(|| watch_state_in(&dirs.config))
    }

    /// Returns the directories that may hold watch states, those of further accounts last.
    #[must_use]
    pub fn watch_states(&self) -> Vec<PathBuf> {
        let own = [watch_state_in(&self.config), self.state.join("gmail-watch")];
        let mut further = self.further_accounts();
        // Always in the same order.
        further.sort();
        let further = further.iter();
        let further = further.map(|folder| watch_state_in(&folder.join(APP)));
        own.into_iter().chain(further).collect()
    }

    /// Returns the directories of a further account of a machine, the same for each of Gmail's spellings of its address. A
    /// controller keeps it apart, because its OAuth client may have the name of another one.
    #[must_use]
    pub fn of_further(&self, account: &str) -> Self {
        let mailbox = mailbox_of(account).trim();
        let hash = match mailbox.parse::<EmailAddress>() {
            Ok(email) => digest(&SHA256, email.mailbox_key().as_bytes()),
            Err(_) => digest(&SHA256, mailbox.to_lowercase().as_bytes()),
        };
        let name = hex::encode(&hash.as_ref()[..NAME_BYTES]);
        Self::at(self.further_folder().join(name).join(APP))
    }

    /// Returns the directories that are all in one, as older versions of gog have it.
    #[must_use]
    pub fn at(config: PathBuf) -> Self {
        Self {
            data: config.clone(),
            is_data_explicit: false,
            state: config.join("state"),
            is_state_explicit: false,
            config,
        }
    }

    /// Whether this file or directory of the configuration directory holds watch states.
    #[must_use]
    pub fn holds_watch_state(&self, path: &Path) -> bool {
        watch_state_in(&self.config).starts_with(path)
    }

    /// Returns the directories of an account: those of a further account if it is one, else the same.
    #[must_use]
    pub fn of_account(&self, account: &str) -> Self {
        let further = self.of_further(account);
        if further.config.is_dir() {
            further
        } else {
            self.clone()
        }
    }

    /// Returns the folder that holds one folder for each further account.
    #[must_use]
    pub fn further_folder(&self) -> PathBuf {
        self.config.with_file_name(FURTHER)
    }

    /// Returns the folders of the further accounts that exist. Blocks on the disk.
    #[must_use]
    pub fn further_accounts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.further_folder()).into_iter().flatten();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let is_accounts = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            name.len() == 2 * NAME_BYTES && name.iter().all(u8::is_ascii_hexdigit)
        };
        paths.filter(is_accounts).collect()
    }

    /// Returns the directory of the watch state of newer versions of gog, if it is in use.
    #[must_use]
    pub fn newer_watch_state(&self, account: &str) -> Option<PathBuf> {
        let newer = self.state.join("gmail-watch");
        let is_other = newer != watch_state_in(&self.config);
        let is_used = self.is_state_explicit || has_state(&newer, mailbox_of(account));
        (is_other && is_used).then_some(newer)
    }

    /// Returns gog's keyring: that of older versions if it exists.
    #[must_use]
    pub fn keyring(&self) -> GogKeyring {
        let older = self.config.join("keyring");
        let (keyring, clients) = if self.is_data_explicit {
            (self.data.join("keyring"), vec![self.data.clone()])
        } else {
            let keyring = if older.is_dir() {
                older
            } else {
                self.data.join("keyring")
            };
            (keyring, vec![self.data.clone(), self.config.clone()])
        };
        GogKeyring { keyring, clients }
    }
}

/// Returns the directory of the watch state in gog's configuration directory.
#[must_use]
pub fn watch_state_in(config: &Path) -> PathBuf {
    config.join(watch_state::FOLDER)
}

fn has_state(directory: &Path, account: &str) -> bool {
    !matches!(StateFile::peek(directory, account), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_move_the_directories() {
        let dirs = |variables: &'static [(&str, &str)]| {
            GogDirs::from_variables(move |name| {
                let found = variables.iter().find(|(set, _)| *set == name);
                found.map(|(_, value)| *value)
            })
        };
        assert!(dirs(&[]).is_err());
        let default = dirs(&[("HOME", "/nowhere")]).unwrap();
        assert_eq!(default.config(), Path::new("/nowhere/.config/gogcli"));
        let state = Path::new("/nowhere/.config/gogcli/state/gmail-watch");
        assert_eq!(default.watch_state("ann@example.com"), state);
        let moved = dirs(&[("HOME", "/nowhere"), ("GOG_HOME", "/gog")]).unwrap();
        assert_eq!(moved.config(), Path::new("/gog/config"));
        let state = Path::new("/gog/state/gmail-watch");
        assert_eq!(moved.watch_state("ann@example.com"), state);
    }

    #[test]
    fn a_further_account_has_directories_of_its_own_which_do_not_name_it() {
        let home = tempfile::tempdir().unwrap();
        let variable = |name: &str| (name == "HOME").then(|| home.path().to_str().unwrap());
        let dirs = GogDirs::from_variables(variable).unwrap();
        let bob = dirs.of_further("Bob@example.com/invoices");
        assert_eq!(bob.config(), dirs.of_further("bob@example.com").config());
        assert!(bob.config() != dirs.of_further("bob_example@com").config());
        let [one, other] = ["first.last@gmail.com", "FirstLast@googlemail.com"];
        assert_eq!(
            dirs.of_further(one).config(),
            dirs.of_further(other).config()
        );
        assert!(!bob.config().to_str().unwrap().contains("bob"));
        assert_eq!(
            dirs.of_account("bob@example.com").config(),
            dirs.config(),
            "it is no further account yet"
        );
        let state = bob.watch_state("bob@example.com");
        drop(StateFile::open(&state, "bob@example.com").unwrap());
        assert_eq!(dirs.of_account("bob@example.com").config(), bob.config());
        assert_eq!(dirs.watch_state("bob@example.com"), state);
        assert_eq!(dirs.watch_states()[2..], [state]);
        fs::create_dir(dirs.further_folder().join("new")).unwrap();
        let folder = bob.config().parent().unwrap();
        assert_eq!(dirs.further_accounts(), [folder]);
    }

    #[test]
    fn the_state_of_a_further_webhook_is_beside_that_of_its_mailbox() {
        let home = tempfile::tempdir().unwrap();
        let variable = |name: &str| (name == "HOME").then(|| home.path().to_str().unwrap());
        let dirs = GogDirs::from_variables(variable).unwrap();
        let newer = home.path().join(".local/state/gogcli/gmail-watch");
        drop(StateFile::open(&newer, "ann@example.com").unwrap());
        std::fs::write(newer.join("ann_example_com.json"), "{}").unwrap();
        assert_eq!(dirs.watch_state("ann@example.com/audit"), newer);
    }
}
