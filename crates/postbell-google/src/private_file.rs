//! Files that are their owner's alone.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes a file whole, and for its owner alone. Its folder has to be there. Blocks on the disk.
///
/// # Errors
///
/// What the system says; a file that was there is as it was.
pub fn write_private(file: &Path, content: &str) -> io::Result<()> {
    let folder = folder_of(file);
    // Such a file is its owner's alone from the beginning.
    let mut fresh = NamedTempFile::new_in(folder)?;
    writeln!(fresh, "{content}")?;
    fresh.as_file().sync_all()?;
    fresh.persist(file)?;
    fs::File::open(folder)?.sync_all()
}

/// The longest file that is read whole.
const LONGEST: u64 = 64 * 1024;

/// Reads a small file. What is none, such as a pipe or a device, could keep the reader waiting for
/// ever. Blocks on the disk.
///
/// # Errors
///
/// What the system says, or [`io::ErrorKind::InvalidInput`] where it is no file or has over 64 KiB.
pub fn read_small(file: &Path) -> io::Result<Vec<u8>> {
    let is_small_file = |found: &fs::Metadata| found.is_file() && found.len() <= LONGEST;
    if !is_small_file(&fs::metadata(file)?) {
        let problem = "expected a file of at most 64 KiB";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    fs::read(file)
}

/// The folder of a file: of one without a folder in its name it is the present one, which is no empty
/// name.
fn folder_of(file: &Path) -> &Path {
    let folder = file.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_folder_is_in_the_present_one() {
        assert_eq!(folder_of(Path::new("setup.json")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/setup.json")), Path::new("a"));
    }
}
