//! The mails that the demo sends.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A mail to send: what it is called in messages, and where its bytes are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mail {
    /// One of our own, by number.
    BuiltIn(usize),
    /// A file with a mail in RFC 5322 form.
    File(PathBuf),
}

/// The largest mail that Gmail receives, in bytes.
const LARGEST: u64 = 50 * 1024 * 1024;

/// The built-in mails: one of each kind that a bot is likely to meet. `NUMBER` is filled in.
const BUILT_IN: [&str; 5] = [
    include_str!("mails/plain.eml"),
    include_str!("mails/encoded.eml"),
    include_str!("mails/html.eml"),
    include_str!("mails/attachment.eml"),
    include_str!("mails/reply.eml"),
];

impl Mail {
    /// What the mail is called in a message to a person.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::BuiltIn(number) => format!("built-in mail {number}"),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// The mail's bytes. A file is read now and not before, for a folder may hold many.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or is larger than any mail.
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
                if about.len() > LARGEST {
                    return Err(io::Error::other("expected a mail of at most 50 MB"));
                }
                fs::read(path)
            }
        }
    }
}

/// The first `count` built-in mails.
pub fn built_in(count: usize) -> impl Iterator<Item = Mail> {
    (1..=count).map(Mail::BuiltIn)
}

/// Finds the mails at `path`: the file itself, or every file in the folder and those below it, in
/// the order of their names. Links to folders are not followed, for they may lead in a circle.
///
/// # Errors
///
/// Where the path, or a folder below it, cannot be read.
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
    fn a_folder_gives_the_files_below_it_in_order() {
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
    fn each_built_in_mail_has_its_number() {
        for (place, mail) in built_in(12).enumerate() {
            let text = String::from_utf8(mail.bytes().unwrap()).unwrap();
            assert!(
                text.contains(&format!("{}", place + 1)) && !text.contains("NUMBER"),
                "{text}"
            );
        }
    }
}
