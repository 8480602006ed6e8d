//! Unpacks a tarball from outside: regular files and folders below one folder, and nothing else.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::read::GzDecoder;
use secrecy::{ExposeSecret, SecretString};
use tar::{Archive, Entry, EntryType};

/// The largest unpacked size. `gog`'s folder has some kilobytes.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// The largest number of files and folders.
const MAX_ENTRIES: usize = 1_000;

/// The greatest depth of a path.
const MAX_DEPTH: usize = 16;

/// Base64 as Node decodes it, because KiloClaw's tarballs come from Node: padding is optional.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a tarball is not unpacked. Contains nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The text is not base64.
    #[error("expected base64 of a tar.gz; it is not base64")]
    NotBase64,

    /// The bytes are not a tar.gz, or are truncated.
    #[error("expected base64 of a tar.gz; it is something else, or truncated")]
    NotTarball,

    /// An entry is outside of the folder.
    #[error("expected files below {folder}/; entry {number} is none")]
    Outside {
        /// The folder that must contain all entries.
        folder: String,
        /// The entry's number, from 1.
        number: usize,
    },

    /// An entry is neither a regular file nor a folder, for example a link or a device.
    #[error("expected files and folders; entry {number} is neither")]
    NotAFile {
        /// The entry's number, from 1.
        number: usize,
    },

    /// The tarball exceeds a limit.
    #[error("expected at most {MAX_ENTRIES} files and {MAX_BYTES} bytes, unpacked; it is larger")]
    TooLarge,

    /// The tarball contains nothing.
    #[error("expected files below {folder}/; it is empty")]
    Empty {
        /// The folder that must contain all entries.
        folder: String,
    },

    /// A file cannot be written.
    #[error("it cannot be written")]
    Disk(#[source] io::Error),
}

/// Unpacks `tarball`, whose entries must all be below `folder`, into the empty folder `into`.
/// Ownership, times and modes are not restored: only the current user may read the result. After an
/// error, some files may already have been written.
///
/// # Errors
///
/// [`UnpackError`]
pub fn unpack(tarball: &SecretString, into: &Path, folder: &str) -> Result<(), UnpackError> {
    let text: String = tarball.expose_secret().split_whitespace().collect();
    let bytes = BASE64.decode(text).map_err(|_| UnpackError::NotBase64)?;
    // Reading one byte more than allowed shows that there was too much.
    let plain = GzDecoder::new(bytes.as_slice()).take(MAX_BYTES + 1);
    let mut archive = Archive::new(plain);
    let unpacked = unpack_all(&mut archive, into, folder);
    if archive.into_inner().limit() == 0 {
        return Err(UnpackError::TooLarge);
    }
    unpacked?;
    sync(&into.join(folder)).map_err(UnpackError::Disk)
}

fn unpack_all(
    archive: &mut Archive<impl Read>,
    into: &Path,
    folder: &str,
) -> Result<(), UnpackError> {
    let mut number = 0;
    for entry in archive.entries().map_err(|_| UnpackError::NotTarball)? {
        number += 1;
        if number > MAX_ENTRIES {
            return Err(UnpackError::TooLarge);
        }
        let entry = entry.map_err(|_| UnpackError::NotTarball)?;
        // Some programs write such a header before the files.
        if entry.header().entry_type() != EntryType::XGlobalHeader {
            unpack_entry(entry, number, into, folder)?;
        }
    }
    if into.join(folder).is_dir() {
        Ok(())
    } else {
        let folder = folder.to_owned();
        Err(UnpackError::Empty { folder })
    }
}

fn unpack_entry(
    mut entry: Entry<'_, impl Read>,
    number: usize,
    into: &Path,
    folder: &str,
) -> Result<(), UnpackError> {
    let path = entry.path().map_err(|_| UnpackError::NotTarball)?;
    let outside = || UnpackError::Outside {
        folder: folder.to_owned(),
        number,
    };
    let path = below(&path, folder).ok_or_else(outside)?;
    let target = into.join(&path);
    let kind = entry.header().entry_type();
    if kind == EntryType::Directory {
        return make_folder(&target);
    }
    if kind != EntryType::Regular || path == Path::new(folder) {
        return Err(UnpackError::NotAFile { number });
    }
    if let Some(parent) = target.parent() {
        make_folder(parent)?;
    }
    // Refuses a second file of the same name, and a file in place of a folder.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&target)
        .map_err(UnpackError::Disk)?;
    let expected = entry.size();
    let copied = io::copy(&mut entry, &mut file).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            UnpackError::NotTarball
        }
        _ => UnpackError::Disk(error),
    })?;
    if copied != expected {
        return Err(UnpackError::NotTarball);
    }
    file.sync_all().map_err(UnpackError::Disk)
}

/// Returns the path if it is `folder` or below it, without the `./` that tar may write before it.
fn below(path: &Path, folder: &str) -> Option<PathBuf> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    let is_below = names.first() == Some(&OsStr::new(folder)) && names.len() <= MAX_DEPTH;
    is_below.then(|| names.iter().collect())
}

fn make_folder(folder: &Path) -> Result<(), UnpackError> {
    let created = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    created.map_err(UnpackError::Disk)
}

/// Makes the directory entries durable, too.
fn sync(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}
