//! The file that keeps the progress of setup between runs.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use postbell_protocol::private_file::{FileError, read_small, write_private};

use crate::error::{Blocker, Result, SetupError};
use crate::progress::Progress;

/// The progress file. Its operations block on the disk.
#[derive(Clone, Debug)]
pub struct ProgressFile(PathBuf);

impl ProgressFile {
    /// The file at `path`, which need not exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Locks the file against other runs of setup until the value is dropped or the process ends.
    /// The lock file stays.
    ///
    /// # Errors
    ///
    /// If another run has the lock, or on a disk error.
    pub fn lock(&self) -> Result<fs::File> {
        let mut path = self.0.clone().into_os_string();
        path.push(".lock");
        let opened = self.create_folder().and_then(|()| {
            let mut options = fs::File::options();
            options.append(true).create(true).mode(0o600).open(path)
        });
        let lock = opened.map_err(|error| self.error(&format!("cannot be locked: {error}")))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(fs::TryLockError::WouldBlock) => Err(self.error(
                "is in use by another setup process; wait for it, or pass another file with --state",
            )),
            Err(fs::TryLockError::Error(error)) => {
                Err(self.error(&format!("cannot be locked: {error}")))
            }
        }
    }

    /// Reads the progress; empty if there is no file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or parsed. It is not changed.
    pub fn read(&self) -> Result<Progress> {
        match read_small(&self.0) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|_| self.error("is not a progress file of setup; remove it")),
            Err(FileError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(Progress::default())
            }
            Err(FileError::Unreadable { source, .. }) => {
                Err(self.error(&format!("cannot be read: {source}")))
            }
            Err(FileError::Unexpected { expected, .. }) => {
                Err(self.error(&format!("cannot be read: expected {expected}")))
            }
        }
    }

    /// Replaces the file.
    ///
    /// # Errors
    ///
    /// On a disk error. The old file then remains.
    pub fn write(&self, progress: &Progress) -> Result<()> {
        let written = self.replace(progress);
        written.map_err(|error| self.error(&format!("cannot be written: {error}")))
    }

    /// Deletes the file.
    ///
    /// # Errors
    ///
    /// On a disk error.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.error(&format!("cannot be removed: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn replace(&self, progress: &Progress) -> io::Result<()> {
        self.create_folder()?;
        write_private(&self.0, &serde_json::to_string_pretty(progress)?)
    }

    fn create_folder(&self) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder)?;
        }
        Ok(())
    }

    fn error(&self, problem: &str) -> SetupError {
        SetupError::new(Blocker::File(format!("{} {problem}", self.0.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_progress_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = ProgressFile::new(folder.path().join("new").join("setup.json"));
        assert_eq!(file.read().unwrap(), Progress::default());
        let progress = Progress {
            project: Some("p".to_owned()),
            ..Progress::default()
        };
        file.write(&progress).unwrap();
        assert_eq!(file.read().unwrap(), progress);
        file.remove().unwrap();
        file.remove().unwrap();
    }

    #[test]
    fn only_one_process_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let file = ProgressFile::new(folder.path().join("new").join("setup.json"));
        let lock = file.lock().unwrap();
        let error = file.lock().unwrap_err().to_string();
        assert!(error.contains("another setup process"), "{error}");
        drop(lock);
        file.lock().unwrap();
    }

    #[test]
    fn devices_and_folders_are_refused() {
        for path in ["/dev/zero", "/"] {
            let error = ProgressFile::new(path.into()).read().unwrap_err();
            assert!(error.to_string().contains("cannot be read"), "{error}");
        }
    }

    #[test]
    fn a_file_with_other_content_is_kept_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("setup.json");
        fs::write(&path, "hunter2").unwrap();
        let error = ProgressFile::new(path.clone()).read().unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("setup.json") && !error.contains("hunter2"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(path).unwrap(), "hunter2");
    }
}
