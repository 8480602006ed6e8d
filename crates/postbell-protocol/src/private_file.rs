//! Files that only their owner can read, such as credentials.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

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
/// [`io::ErrorKind::InvalidInput`] if it is not a regular file or is larger than 64 KiB.
pub fn read_small(file: &Path) -> io::Result<Vec<u8>> {
    let is_small_file = |found: &fs::Metadata| found.is_file() && found.len() <= MAX_BYTES;
    if !is_small_file(&fs::metadata(file)?) {
        let problem = "expected a file of at most 64 KiB";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    fs::read(file)
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
