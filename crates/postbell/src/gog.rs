//! Where `gog` keeps what it knows (<https://github.com/openclaw/gogcli>, `internal/config`).

use std::path::{Path, PathBuf};

use anyhow::Context;
use postbell_protocol::gog_keyring::GogKeyring;
use postbell_watcher::StateFile;

use crate::config::Env;

/// The folder of the program in each of those of the user.
const APP: &str = "gogcli";

/// The variables that lead `gog` elsewhere than to the usual folders.
pub(crate) const FOLDER_VARIABLES: [&str; 4] = [
    "GOG_HOME",
    "GOG_CONFIG_DIR",
    "GOG_DATA_DIR",
    "GOG_STATE_DIR",
];

/// The folders of `gog`, of which newer versions have one for each purpose.
pub(crate) struct GogFolders {
    config: PathBuf,
    data: PathBuf,
    /// Whether `data` was set for `gog`: then it does not look in `config`.
    data_is_explicit: bool,
    state: PathBuf,
    state_is_explicit: bool,
}

impl GogFolders {
    /// The folders as the variables of the process have them.
    ///
    /// # Errors
    ///
    /// Where there is no home.
    pub(crate) fn of(env: &Env) -> anyhow::Result<Self> {
        let folder = |name: &str| {
            let value = env.variable(name)?;
            let path = PathBuf::from(value);
            path.is_absolute().then_some(path)
        };
        let home = folder("HOME").context("expected the user's home in HOME")?;
        let gog_home = folder("GOG_HOME");
        let explicit = |own: &str, name: &str| {
            folder(own).or_else(|| gog_home.as_ref().map(|gog_home| gog_home.join(name)))
        };
        let usual = |variable: &str, below_home: &str| {
            let base = folder(variable).unwrap_or_else(|| home.join(below_home));
            base.join(APP)
        };
        let config = explicit("GOG_CONFIG_DIR", "config");
        let data = explicit("GOG_DATA_DIR", "data");
        let state = explicit("GOG_STATE_DIR", "state");
        Ok(Self {
            config: config.unwrap_or_else(|| usual("XDG_CONFIG_HOME", ".config")),
            data_is_explicit: data.is_some(),
            data: data.unwrap_or_else(|| usual("XDG_DATA_HOME", ".local/share")),
            state_is_explicit: state.is_some(),
            state: state.unwrap_or_else(|| usual("XDG_STATE_HOME", ".local/state")),
        })
    }

    /// The folder of its configuration, in which a controller puts credentials.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// The folder of the watch's state: where newer versions of `gog` have it, if it is there, or
    /// else where all have had it.
    pub(crate) fn watch_state(&self, account: &str) -> PathBuf {
        self.newer_watch_state(account)
            .unwrap_or_else(|| watch_state_in(&self.config))
    }

    /// The same where newer versions of `gog` have it, if it is there.
    pub(crate) fn newer_watch_state(&self, account: &str) -> Option<PathBuf> {
        let newer = self.state.join("gmail-watch");
        (self.state_is_explicit || is_state(&newer, account)).then_some(newer)
    }

    /// The keyring of `gog`: in the older place, where it is there.
    pub(crate) fn keyring(&self) -> GogKeyring {
        let older = self.config.join("keyring");
        let (keyring, clients) = if self.data_is_explicit {
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

/// The folder of the watch's state in the folder of `gog`'s configuration.
pub(crate) fn watch_state_in(config: &Path) -> PathBuf {
    config.join("state").join("gmail-watch")
}

fn is_state(folder: &Path, account: &str) -> bool {
    !matches!(StateFile::peek(folder, account), Ok(None))
}
