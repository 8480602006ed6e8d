//! A file that is written beside the one that it will be.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::backup::BackupError;
use crate::sqlite::connection::{self, beside};

/// A file that is being written, beside the one that it will be. It is removed when this is dropped.
pub(super) struct Part {
    path: PathBuf,
    /// Locked while it is written.
    lock: File,
}

impl Part {
    /// Creates the file, empty and readable by its owner alone, unless another process writes it. What an
    /// interrupted process has left is removed. A symbolic link is refused: it could name any file of this user.
    pub(super) fn create(beside_file: &Path) -> Result<Self, BackupError> {
        let folder = beside_file.parent().unwrap_or(Path::new(""));
        if !folder.as_os_str().is_empty() && matches!(folder.try_exists(), Ok(false)) {
            return Err(BackupError::NoFolder(beside_file.to_owned()));
        }
        let path = beside(beside_file, ".part");
        let failed = |error| BackupError::File(path.clone(), error);
        loop {
            connection::create(&path)?;
            let mut options = OpenOptions::new();
            options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
            let lock = match options.write(true).open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened.map_err(failed)?,
            };
            match lock.try_lock() {
                Ok(()) => (),
                Err(TryLockError::WouldBlock) => return Err(BackupError::BeingWritten(path)),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // The process that had it locked may have removed it.
            if !is_at(&lock, &path) {
                continue;
            }
            let part = Self { path, lock };
            part.remove_companions();
            let emptied = part.lock.set_len(0);
            emptied.map_err(|error| BackupError::File(part.path.clone(), error))?;
            return Ok(part);
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Copies a file into it. Its permissions stay.
    pub(super) fn fill(&self, from: &Path) -> Result<(), BackupError> {
        let copied = File::open(from).and_then(|mut from| io::copy(&mut from, &mut &self.lock));
        copied.map_err(|error| BackupError::File(from.to_owned(), error))?;
        Ok(())
    }

    /// Gives the file its name, durably. No file is overwritten.
    pub(super) fn publish(self, file: &Path) -> Result<(), BackupError> {
        let failed = |error| BackupError::File(file.to_owned(), error);
        self.sync()?;
        // Unlike a rename, a link overwrites nothing. Not every file system has links.
        match fs::hard_link(&self.path, file) {
            Ok(()) => (),
            Err(_) if file.exists() => return Err(BackupError::Exists(file.to_owned())),
            Err(_) => fs::rename(&self.path, file).map_err(failed)?,
        }
        sync_folder_of(file)
    }

    /// Puts the file in the place of another, durably: at each moment one of them has the name.
    pub(super) fn replace(self, file: &Path) -> Result<(), BackupError> {
        self.sync()?;
        let renamed = fs::rename(&self.path, file);
        renamed.map_err(|error| BackupError::File(file.to_owned(), error))?;
        sync_folder_of(file)
    }

    fn sync(&self) -> Result<(), BackupError> {
        let synced = File::open(&self.path).and_then(|part| part.sync_all());
        synced.map_err(|error| BackupError::File(self.path.clone(), error))
    }

    /// Removes what SQLite has left beside it.
    fn remove_companions(&self) {
        for suffix in ["-journal", "-wal", "-shm"] {
            let _ = fs::remove_file(beside(&self.path, suffix));
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // A second name of the finished file, or nothing of value. Under its name may be the part of another process
        // by now, if this one was renamed.
        self.remove_companions();
        if is_at(&self.lock, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes the folder of a file to the disk, so that its names are durable.
pub(super) fn sync_folder_of(file: &Path) -> Result<(), BackupError> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| BackupError::File(folder.to_owned(), error))
}

/// Returns whether two names are of one file. Neither is opened: closing it would end SQLite's locks
/// (<https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_>).
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    fs::metadata(one).is_ok_and(|one| is_of(&one, other))
}

fn is_at(file: &File, path: &Path) -> bool {
    file.metadata().is_ok_and(|file| is_of(&file, path))
}

fn is_of(metadata: &Metadata, path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|found| (found.dev(), found.ino()) == (metadata.dev(), metadata.ino()))
}
