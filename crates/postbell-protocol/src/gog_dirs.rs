//! The directories of `gog` (<https://github.com/openclaw/gogcli>, `internal/config`), where Postbell
//! finds its keyring and shares the state of the watch.

use std::path::{Path, PathBuf};

use crate::gog_keyring::GogKeyring;
use crate::watch_state::{self, StateFile, mailbox_of};

/// Name of gog's directory in each of the user's base directories.
const APP: &str = "gogcli";

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
    /// first.
    #[must_use]
    pub fn watch_state(&self, account: &str) -> PathBuf {
        self.newer_watch_state(account)
            .unwrap_or_else(|| watch_state_in(&self.config))
    }

    /// Returns the directories that may hold watch states.
    #[must_use]
    pub fn watch_states(&self) -> [PathBuf; 2] {
        [watch_state_in(&self.config), self.state.join("gmail-watch")]
    }

    /// Returns the directory of the watch state of newer versions of gog, if it is in use.
    #[must_use]
    pub fn newer_watch_state(&self, account: &str) -> Option<PathBuf> {
        let newer = self.state.join("gmail-watch");
        (self.is_state_explicit || has_state(&newer, mailbox_of(account))).then_some(newer)
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
