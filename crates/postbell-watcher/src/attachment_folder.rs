//! The directory in which attachments are written, one folder for each message.
//!
//! Every access starts from the open directory and follows no symbolic link: another process that can
//! write into it cannot lead a write or a deletion elsewhere.

use std::ffi::{CString, OsStr};
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::Timestamp;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, futimens, mkdirat,
    openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use tracing::warn;

/// The beginning of a message's folder. Nothing else in the directory is touched.
const PREFIX: &str = "mail-";

/// The longest message id in a folder's name. Gmail's have 16 characters.
const MAX_ID: usize = 64;

/// A file that is not complete yet. No attachment has this name: none begins with a dot.
const UNFINISHED: &str = ".unfinished";

/// How long the files of a message are kept after it was last delivered.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Files younger than this are not removed to make room: the webhook may not have read them yet.
const FRESH: Duration = Duration::from_secs(60 * 60);

/// The time between two searches for old files.
const SEARCH_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The space that a file or a folder takes at least.
const BLOCK: u64 = 4096;

/// The directory in which attachments are written. All functions block on the disk.
pub struct AttachmentFolder {
    /// Its absolute path, without symbolic links.
    path: String,
    /// The open directory. It is opened again if it was removed or moved.
    folder: Mutex<Arc<OwnedFd>>,
    limit: u64,
    usage: Mutex<Usage>,
}

/// What the directory contains.
#[derive(Default)]
struct Usage {
    mails: Vec<MailFolder>,
    searched_at: Option<Timestamp>,
}

#[derive(Clone)]
struct MailFolder {
    name: CString,
    bytes: u64,
    /// When the message was last delivered.
    used_at: Timestamp,
}

impl AttachmentFolder {
    /// Opens the directory, and creates it if it does not exist. The files in it take at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// An error of the disk, or `InvalidInput` if the path cannot be written in JSON.
    pub fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(path)?;
        let path = path.canonicalize()?;
        let text = path
            .to_str()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"))?;
        // Fails now if nothing can be written.
        tempfile::NamedTempFile::new_in(&path)?;
        let folder = open_folder(CWD, &path)?;
        Ok(Self {
            path: text.to_owned(),
            folder: Mutex::new(Arc::new(folder)),
            limit,
            usage: Mutex::default(),
        })
    }

    /// The open directory, which is made again if it was removed.
    fn folder(&self) -> io::Result<Arc<OwnedFd>> {
        let mut folder = self.folder.lock();
        let open = rustix::fs::fstat(&**folder)?;
        let is_there = match statat(CWD, self.path.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => (found.st_dev, found.st_ino) == (open.st_dev, open.st_ino),
            Err(Errno::NOENT) => false,
            Err(error) => return Err(error.into()),
        };
        if !is_there {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(&self.path)?;
            *folder = Arc::new(open_folder(CWD, self.path.as_str())?);
            // The files of the other one are not in this one.
            *self.usage.lock() = Usage::default();
        }
        Ok(Arc::clone(&folder))
    }

    /// The paths of a message's files that are complete, by name. From now on they count as just delivered.
    pub(crate) fn existing(
        &self,
        message: &str,
        names: &[String],
        now: Timestamp,
    ) -> Vec<Option<String>> {
        let folder_name = folder_name(message);
        let directory = self.folder();
        // Under the lock, so that none is removed to make room once it was found.
        let mut usage = self.usage.lock();
        let folder = directory.and_then(|all| Ok(open_folder(&*all, folder_name.as_str())?));
        let Ok(folder) = folder else {
            return vec![None; names.len()];
        };
        let _ = futimens(&folder, &NOW);
        if let Some(mail) = usage.of(&folder_name) {
            mail.used_at = now;
        }
        let exists = |name: &String| {
            let found = statat(&folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW);
            found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile)
        };
        let names = names.iter();
        names
            .map(|name| exists(name).then(|| self.path_of(&folder_name, name)))
            .collect()
    }

    /// Removes the oldest files, unless they are fresh, until there is room for this number of bytes. Returns whether
    /// there is.
    pub(crate) fn make_room(&self, bytes: u64, now: Timestamp) -> io::Result<bool> {
        let folder = self.folder()?;
        let mut usage = self.usage.lock();
        if usage.searched_at.is_none() {
            search(&folder, &mut usage, now)?;
        }
        let needed = on_disk(bytes).saturating_add(BLOCK);
        if needed > self.limit {
            return Ok(false);
        }
        loop {
            let used: u64 = usage.mails.iter().map(|mail| mail.bytes).sum();
            if used.saturating_add(needed) <= self.limit {
                return Ok(true);
            }
            let oldest = usage.mails.iter().enumerate();
            let oldest = oldest.min_by_key(|(_, mail)| mail.used_at);
            let Some((index, mail)) = oldest.filter(|(_, mail)| mail.used_at + FRESH <= now) else {
                return Ok(false);
            };
            remove_folder(&folder, &mail.name)?;
            usage.mails.swap_remove(index);
        }
    }

    /// Writes a file of a message, so that it survives a power failure, and returns its path.
    pub(crate) fn write(
        &self,
        message: &str,
        name: &str,
        content: &[u8],
        now: Timestamp,
    ) -> io::Result<String> {
        let folder_name = folder_name(message);
        let directory = self.folder()?;
        match mkdirat(&*directory, folder_name.as_str(), Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let folder = open_folder(&*directory, folder_name.as_str())?;
        if let Err(error) = write_into(&folder, name, content) {
            let _ = unlinkat(&folder, UNFINISHED, AtFlags::empty());
            // It stays if it has other files.
            let _ = unlinkat(&*directory, folder_name.as_str(), AtFlags::REMOVEDIR);
            return Err(error);
        }
        File::from(folder).sync_all()?;
        rustix::fs::fsync(&*directory)?;
        self.usage.lock().add(&folder_name, content.len(), now);
        Ok(self.path_of(&folder_name, name))
    }

    /// Removes the files of messages that were last delivered a week ago; at most once an hour.
    pub(crate) fn remove_old(&self, now: Timestamp) -> io::Result<()> {
        let folder = self.folder()?;
        let mut usage = self.usage.lock();
        let is_due =
            |searched_at: Timestamp| searched_at + SEARCH_INTERVAL <= now || searched_at > now;
        if usage.searched_at.is_some_and(|at| !is_due(at)) {
            return Ok(());
        }
        search(&folder, &mut usage, now)
    }

    fn path_of(&self, folder_name: &str, name: &str) -> String {
        format!("{}/{folder_name}/{name}", self.path.trim_end_matches('/'))
    }
}

impl Usage {
    fn of(&mut self, folder_name: &str) -> Option<&mut MailFolder> {
        let mut mails = self.mails.iter_mut();
        mails.find(|mail| mail.name.as_bytes() == folder_name.as_bytes())
    }

    fn add(&mut self, folder_name: &str, bytes: usize, now: Timestamp) {
        let bytes = on_disk(u64::try_from(bytes).unwrap_or(u64::MAX));
        if let Some(mail) = self.of(folder_name) {
            mail.bytes += bytes;
            mail.used_at = now;
        } else {
            self.mails.push(MailFolder {
                name: CString::new(folder_name).unwrap_or_default(),
                bytes: bytes + BLOCK,
                used_at: now,
            });
        }
    }
}

/// Lists the messages' folders, and removes old ones.
fn search(directory: &OwnedFd, usage: &mut Usage, now: Timestamp) -> io::Result<()> {
    let mut mails = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if !name.as_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let mail = match measure(directory, name) {
            Ok(mail) => mail,
            // It is a link, or the bot has just removed it.
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => continue,
            Err(error) => {
                warn!(%error, "Could not read a folder of attachments");
                continue;
            }
        };
        if mail.used_at + KEPT > now {
            mails.push(mail);
        } else if let Err(error) = remove_folder(directory, &mail.name) {
            warn!(%error, "Could not remove old attachments");
        }
    }
    *usage = Usage {
        mails,
        searched_at: Some(now),
    };
    Ok(())
}

fn measure(directory: &OwnedFd, name: CString) -> rustix::io::Result<MailFolder> {
    let folder = open_folder(directory, name.as_c_str())?;
    Ok(MailFolder {
        used_at: changed_at(&folder)?,
        bytes: size_of(&folder)?,
        name,
    })
}

const NOW: Timestamps = {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    Timestamps {
        last_access: now,
        last_modification: now,
    }
};

/// The name of a message's folder. Gmail's ids are hexadecimal; whatever else comes must not lead out of the directory.
fn folder_name(message: &str) -> String {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || one == '-' || one == '_';
    let id = message.chars().take(MAX_ID);
    let id: String = id
        .map(|one| if is_plain(one) { one } else { '_' })
        .collect();
    format!("{PREFIX}{id}")
}

fn open_folder(directory: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty())
}

fn write_into(folder: &OwnedFd, name: &str, content: &[u8]) -> io::Result<()> {
    // Of a process that was killed.
    match unlinkat(folder, UNFINISHED, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, UNFINISHED, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(file);
    file.write_all(content)?;
    file.sync_all()?;
    renameat(folder, UNFINISHED, folder, name)?;
    Ok(())
}

fn changed_at(folder: &OwnedFd) -> rustix::io::Result<Timestamp> {
    let changed = rustix::fs::fstat(folder)?;
    Ok(Timestamp::from_millis(
        changed.st_mtime.saturating_mul(1000),
    ))
}

fn size_of(folder: &OwnedFd) -> rustix::io::Result<u64> {
    let mut bytes = BLOCK;
    for_each_file(folder, |name| {
        let file = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            file => file?,
        };
        bytes += on_disk(u64::try_from(file.st_size).unwrap_or(0));
        Ok(())
    })?;
    Ok(bytes)
}

/// Removes a message's folder with the files in it, unless it was removed. Folders in it are none of ours: then
/// it stays.
fn remove_folder(directory: &OwnedFd, name: &CString) -> rustix::io::Result<()> {
    let folder = match open_folder(directory, name.as_c_str()) {
        Err(Errno::NOENT) => return Ok(()),
        folder => folder?,
    };
    for_each_file(&folder, |name| {
        match unlinkat(&folder, name, AtFlags::empty()) {
            // It is a folder, which Linux and macOS report differently.
            Err(Errno::ISDIR | Errno::PERM | Errno::NOENT) => Ok(()),
            removed => removed,
        }
    })?;
    match unlinkat(directory, name.as_c_str(), AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

fn for_each_file(
    folder: &OwnedFd,
    mut action: impl FnMut(&OsStr) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            action(OsStr::from_bytes(name))?;
        }
    }
    Ok(())
}

fn on_disk(bytes: u64) -> u64 {
    bytes.max(1).div_ceil(BLOCK).saturating_mul(BLOCK)
}

#[cfg(test)]
mod tests;
