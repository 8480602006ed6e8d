//! The mails that the demo sends.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A mail to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mail {
    /// A built-in mail, by number.
    BuiltIn(usize),
    /// A file with a mail in RFC 5322 format.
    File(PathBuf),
}

/// Maximum size of a mail that Gmail accepts, in bytes.
const MAX_SIZE: u64 = 50 * 1024 * 1024;

/// The built-in mails, one of each common kind. `NUMBER` is replaced.
const BUILT_IN: [&str; 5] = [
    include_str!("mails/plain.eml"),
    include_str!("mails/encoded.eml"),
    include_str!("mails/html.eml"),
    include_str!("mails/attachment.eml"),
    include_str!("mails/reply.eml"),
];

impl Mail {
    /// Returns the name of the mail for messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::BuiltIn(number) => format!("built-in mail {number}"),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Reads the mail.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, or is larger than any mail.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::BuiltIn(number) => {
                let template = BUILT_IN[number % BUILT_IN.len()];
                Ok(template.replace("NUMBER", &number.to_string()).into_bytes())
            }
            Self::File(path) => {
                let about = fs::metadata(path)?;
                if !about.is_file() {
                    return Err(io::Error::other("expected a file"));
                }
                if about.len() > MAX_SIZE {
                    return Err(io::Error::other("expected a mail of at most 50 MB"));
                }
                fs::read(path)
            }
        }
    }
}

/// Returns the first `count` built-in mails.
pub fn built_in(count: usize) -> impl Iterator<Item = Mail> {
    (1..=count).map(Mail::BuiltIn)
}

/// Finds the mails at `path`: the file itself, or every file in the directory and below it, sorted by
/// path. Does not follow links to directories, because they may form a cycle.
///
/// # Errors
///
/// Fails if the path or a directory below it cannot be read.
pub fn find(path: &Path) -> io::Result<Vec<Mail>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![Mail::File(path.to_owned())]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let is_folder = entry.file_type()?.is_dir();
            if is_folder {
                folders.push(entry.path());
            } else if fs::metadata(entry.path()).is_ok_and(|target| target.is_file()) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found.into_iter().map(Mail::File).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_its_files_sorted() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for name in ["c.eml", "b/2.eml", "b/1.eml", "a.eml"] {
            fs::write(folder.path().join(name), "Subject: x\n\n").unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), folder.path().join("circle")).unwrap();

        let found = find(folder.path()).unwrap();
        let expected = ["a.eml", "b/1.eml", "b/2.eml", "c.eml"];
        assert_eq!(
            found,
            expected.map(|name| Mail::File(folder.path().join(name)))
        );
    }

    #[test]
    fn built_in_mails_are_numbered() {
        for (place, mail) in built_in(12).enumerate() {
            let text = String::from_utf8(mail.bytes().unwrap()).unwrap();
            assert!(
                text.contains(&format!("{}", place + 1)) && !text.contains("NUMBER"),
                "{text}"
            );
        }
    }
}
