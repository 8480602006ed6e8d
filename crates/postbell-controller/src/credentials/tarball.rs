//! Unpacks a tar.gz that came from outside: files and folders below one folder, and nothing else.

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

/// How much a tarball may hold, unpacked. The folder of `gog` has some kilobytes.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// How many files and folders it may hold.
const MOST_ENTRIES: usize = 1_000;

/// How deep its folders may lie.
const MOST_LEVELS: usize = 16;

/// What Node takes for base64, of which KiloClaw's tarballs are: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a tarball is not unpacked. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The text is no base64.
    #[error("expected base64 of a tar.gz; it is no base64")]
    NotBase64,

    /// The bytes are no tar.gz, or break off.
    #[error("expected base64 of a tar.gz; it is none, or breaks off")]
    NotTarball,

    /// An entry lies outside the folder.
    #[error("expected files below {folder}/; entry {number} is none")]
    Outside {
        /// The folder in which all must lie.
        folder: String,
        /// Which entry, counted from 1.
        number: usize,
    },

    /// An entry is a link, a device or something else that is no file and no folder.
    #[error("expected files and folders; entry {number} is neither")]
    NoFile {
        /// Which entry, counted from 1.
        number: usize,
    },

    /// It holds too much.
    #[error("expected at most {MOST_ENTRIES} files and {MOST_BYTES} bytes, unpacked; it is larger")]
    TooLarge,

    /// There is nothing in it.
    #[error("expected files below {folder}/; it is empty")]
    Empty {
        /// The folder in which all must lie.
        folder: String,
    },

    /// The disk does not take it.
    #[error("it cannot be written")]
    Disk(#[source] io::Error),
}

/// Unpacks `tarball`, all of whose entries must lie below `folder`, into the folder `into`, which is
/// empty and nobody else's. Where it is refused, some of it may be there already. Owners, times and
/// rights are not taken over: what is unpacked is the user's alone.
///
/// # Errors
///
/// [`Refused`]
pub fn unpack(tarball: &SecretString, into: &Path, folder: &str) -> Result<(), Refused> {
    let text: String = tarball.expose_secret().split_whitespace().collect();
    let bytes = BASE64.decode(text).map_err(|_| Refused::NotBase64)?;
    // One byte more shows that there was too much.
    let plain = GzDecoder::new(bytes.as_slice()).take(MOST_BYTES + 1);
    let mut archive = Archive::new(plain);
    let unpacked = unpack_all(&mut archive, into, folder);
    if archive.into_inner().limit() == 0 {
        return Err(Refused::TooLarge);
    }
    unpacked?;
    sync(&into.join(folder)).map_err(Refused::Disk)
}

fn unpack_all(archive: &mut Archive<impl Read>, into: &Path, folder: &str) -> Result<(), Refused> {
    let mut number = 0;
    for entry in archive.entries().map_err(|_| Refused::NotTarball)? {
        number += 1;
        if number > MOST_ENTRIES {
            return Err(Refused::TooLarge);
        }
        let entry = entry.map_err(|_| Refused::NotTarball)?;
        // What some programs write before the files, and is none.
        if entry.header().entry_type() != EntryType::XGlobalHeader {
            unpack_entry(entry, number, into, folder)?;
        }
    }
    if into.join(folder).is_dir() {
        Ok(())
    } else {
        let folder = folder.to_owned();
        Err(Refused::Empty { folder })
    }
}

fn unpack_entry(
    mut entry: Entry<'_, impl Read>,
    number: usize,
    into: &Path,
    folder: &str,
) -> Result<(), Refused> {
    // A path in an extension of the format's can be anything: it is looked at like any other.
    let path = entry.path().map_err(|_| Refused::NotTarball)?;
    let outside = || Refused::Outside {
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
        return Err(Refused::NoFile { number });
    }
    if let Some(parent) = target.parent() {
        make_folder(parent)?;
    }
    // A file that is there twice is refused, and so is one in the place of a folder.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&target)
        .map_err(Refused::Disk)?;
    let expected = entry.size();
    let copied = io::copy(&mut entry, &mut file).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Refused::NotTarball
        }
        _ => Refused::Disk(error),
    })?;
    if copied != expected {
        return Err(Refused::NotTarball);
    }
    file.sync_all().map_err(Refused::Disk)
}

/// The path, made of nothing but names, if it lies below `folder` or is it; `./` before it is left
/// out, as tar writes it.
fn below(path: &Path, folder: &str) -> Option<PathBuf> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    let is_below = names.first() == Some(&OsStr::new(folder)) && names.len() <= MOST_LEVELS;
    is_below.then(|| names.iter().collect())
}

fn make_folder(folder: &Path) -> Result<(), Refused> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(Refused::Disk)
}

/// Has the disk keep the names, too.
fn sync(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}
