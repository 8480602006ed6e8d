//! What is remembered between runs: facts that are no secret. Everything else is asked of Google.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use postbell_protocol::private_file::{read_small, write_private};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::made::Made;
use crate::trouble::{Trouble, Wall};

/// What is remembered between runs.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Progress {
    /// Where the file of the OAuth client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_file: Option<PathBuf>,
    /// The project's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The id of a project that is to be made, and was not seen yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_project: Option<String>,
    /// The mailbox's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// Where notifications go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationNote>,
    /// Names that were chosen, in place of the usual.
    #[serde(skip_serializing_if = "Names::is_usual")]
    pub names: Names,
    /// What was made here, and may be taken back: written down before it is made.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub made: BTreeSet<Made>,
    /// When the grant ends by itself, in milliseconds since the epoch: the consent screen was in
    /// testing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_ends_at: Option<i64>,
    /// The watch that was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchNote>,
    /// The OAuth client whose grant the platform has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_client: Option<String>,
    /// The hook that took a mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<Url>,
    /// The notification that was sent last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrived: Option<ArrivalNote>,
}

/// Where notifications go.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum DestinationNote {
    /// To a platform's relay, for one of its users.
    #[serde(rename_all = "camelCase")]
    Platform {
        /// Base URL of the platform.
        platform: Url,
        /// Public base URL of its relay.
        relay: Url,
        /// The user.
        user: String,
    },
    /// They are fetched by `postbell watch pull`.
    #[serde(rename_all = "camelCase")]
    Pull {
        /// Where the credentials are.
        credentials: PathBuf,
    },
    /// They are pushed to `postbell watch serve`.
    #[serde(rename_all = "camelCase")]
    Serve {
        /// Where the credentials are.
        credentials: PathBuf,
        /// Its public URL.
        endpoint: Url,
    },
}

/// Names in Google Cloud that were chosen.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Names {
    /// Of the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Of the subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Of the service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

impl Names {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// A watch that was begun.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchNote {
    /// What it tells, as `projects/P/topics/T`.
    pub topic: String,
    /// Where history began.
    pub history_id: String,
    /// When it ends, unless it is renewed, in milliseconds since the epoch.
    pub ends_at: i64,
}

/// A notification that was sent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArrivalNote {
    /// Through what: the subscription, and where it hands out.
    pub path: String,
    /// Why it cannot be seen from here whether it came through; it did, where there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
}

/// Where it is remembered.
#[derive(Clone, Debug)]
pub struct ProgressFile(PathBuf);

impl ProgressFile {
    /// Remembers in this file, which need not be there.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self(file)
    }

    /// Where that is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Keeps others from setting up, or taking back, with the same file as long as the value lives,
    /// whatever ends this process. The lock is a file beside it, which stays. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`Trouble`] where somebody else does, or the disk does not do it.
    pub fn hold(&self) -> Result<fs::File, Trouble> {
        let mut lock = self.0.clone().into_os_string();
        lock.push(".lock");
        let opened = self.make_folder().and_then(|()| {
            let mut options = fs::File::options();
            options.append(true).create(true).mode(0o600).open(lock)
        });
        let lock = opened.map_err(|error| self.trouble(&format!("cannot be locked: {error}")))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(fs::TryLockError::WouldBlock) => Err(self.trouble(
                "is another setup's, which is running; wait for it, or name another file with \
                 --state",
            )),
            Err(fs::TryLockError::Error(error)) => {
                Err(self.trouble(&format!("cannot be locked: {error}")))
            }
        }
    }

    /// Reads what is remembered; nothing, where there is no file. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`Trouble`] where the file cannot be read, or holds something else: it is left alone.
    pub fn read(&self) -> Result<Progress, Trouble> {
        match read_small(&self.0) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| {
                self.trouble("holds something else than what setup remembers; remove it")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Progress::default()),
            Err(error) => Err(self.trouble(&format!("cannot be read: {error}"))),
        }
    }

    /// Writes it, whole. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`Trouble`] where the disk does not do it; the file is as it was.
    pub fn write(&self, progress: &Progress) -> Result<(), Trouble> {
        let written = self.replace(progress);
        written.map_err(|error| self.trouble(&format!("cannot be written: {error}")))
    }

    /// Forgets everything.
    ///
    /// # Errors
    ///
    /// [`Trouble`] where the disk does not do it.
    pub fn remove(&self) -> Result<(), Trouble> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.trouble(&format!("cannot be removed: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn replace(&self, progress: &Progress) -> io::Result<()> {
        self.make_folder()?;
        write_private(&self.0, &serde_json::to_string_pretty(progress)?)
    }

    fn make_folder(&self) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder)?;
        }
        Ok(())
    }

    fn trouble(&self, problem: &str) -> Trouble {
        Trouble::new(Wall::File(format!("{} {problem}", self.0.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_again_and_small() {
        let folder = tempfile::tempdir().unwrap();
        let file = ProgressFile::new(folder.path().join("new").join("setup.json"));
        assert_eq!(file.read().unwrap(), Progress::default());
        let progress = Progress {
            project: Some("p".to_owned()),
            made: BTreeSet::from([Made::Project { id: "p".to_owned() }]),
            ..Progress::default()
        };
        file.write(&progress).unwrap();
        assert_eq!(file.read().unwrap(), progress);
        let text = fs::read_to_string(file.path()).unwrap();
        assert_eq!(
            text.split_whitespace().collect::<String>(),
            r#"{"project":"p","made":[{"kind":"project","id":"p"}]}"#
        );
        file.remove().unwrap();
        file.remove().unwrap();
    }

    #[test]
    fn one_setup_at_a_time_has_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = ProgressFile::new(folder.path().join("new").join("setup.json"));
        let held = file.hold().unwrap();
        let told = file.hold().unwrap_err().to_string();
        assert!(told.contains("another setup's"), "{told}");
        drop(held);
        file.hold().unwrap();
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        for endless in ["/dev/zero", "/"] {
            let told = ProgressFile::new(endless.into()).read().unwrap_err();
            assert!(told.to_string().contains("cannot be read"), "{told}");
        }
    }

    #[test]
    fn a_file_that_holds_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("setup.json");
        fs::write(&path, "hunter2").unwrap();
        let told = ProgressFile::new(path.clone())
            .read()
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("setup.json") && !told.contains("hunter2"),
            "{told}"
        );
        assert_eq!(fs::read_to_string(path).unwrap(), "hunter2");
    }
}
