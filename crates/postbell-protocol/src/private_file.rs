//! Files that only their owner can read, such as credentials.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Why a small file cannot be used. Contains nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read {file}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },

    /// The file has unexpected content.
    #[error("{file}: expected {expected}")]
    Unexpected {
        /// The file.
        file: PathBuf,
        /// The expected content.
        expected: &'static str,
    },
}

impl FileError {
    /// The file has another content than `expected`.
    #[must_use]
    pub fn unexpected(file: &Path, expected: &'static str) -> Self {
        Self::Unexpected {
            file: file.to_owned(),
            expected,
        }
    }
}

/// Replaces a file atomically by one that only its owner can read. The folder must exist. Blocks on
/// the disk.
///
/// # Errors
///
/// [`io::Error`]; an existing file is unchanged then.
pub fn write_private(file: &Path, content: &str) -> io::Result<()> {
    let folder = folder_of(file);
    // A temporary file has mode 0600 from the start.
    let mut fresh = NamedTempFile::new_in(folder)?;
    writeln!(fresh, "{content}")?;
    fresh.as_file().sync_all()?;
    fresh.persist(file)?;
    fs::File::open(folder)?.sync_all()
}

/// The largest file that is read.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads a small regular file: a pipe or a device could block the reader for ever. Blocks on the disk.
///
/// # Errors
///
/// [`FileError::Unexpected`] if it is not a regular file or is larger than 64 KiB.
pub fn read_small(file: &Path) -> Result<Vec<u8>, FileError> {
    let unreadable = |source| FileError::Unreadable {
        file: file.to_owned(),
        source,
    };
    let found = fs::metadata(file).map_err(unreadable)?;
    if !found.is_file() || found.len() > MAX_BYTES {
        return Err(FileError::unexpected(file, "a file of at most 64 KiB"));
    }
    fs::read(file).map_err(unreadable)
}

/// The parent folder; `.` for a bare file name, whose parent is the empty path.
fn folder_of(file: &Path) -> &Path {
    let folder = file.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_bare_name_is_the_current_one() {
        assert_eq!(folder_of(Path::new("setup.json")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/setup.json")), Path::new("a"));
    }
}
