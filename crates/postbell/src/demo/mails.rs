//! The mails that the demo sends.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A mail to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mail {
    /// A built-in mail, by number.
    BuiltIn(usize),
    /// A file with a mail in RFC 5322 format.
    File(PathBuf),
    /// One of the mails in a file in mbox format (RFC 4155), by its place.
    InMbox(PathBuf, Range<u64>),
}

/// The line that begins each mail in an mbox.
const FROM_LINE: &[u8] = b"From ";

/// Maximum size of a mail that Gmail accepts, in bytes.
const MAX_SIZE: u64 = 50 * 1024 * 1024;

/// How much of a line is read at once, in bytes.
const MAX_LINE: u64 = 1024 * 1024;

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
            Self::InMbox(path, at) => format!("{} at byte {}", path.display(), at.start),
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
                check_size(about.len())?;
                fs::read(path)
            }
            Self::InMbox(path, at) => {
                let size = at.end - at.start;
                check_size(size)?;
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(at.start))?;
                let mut mail = Vec::new();
                file.take(size).read_to_end(&mut mail)?;
                Ok(unescaped(&mail))
            }
        }
    }
}

fn check_size(size: u64) -> io::Result<()> {
    if size > MAX_SIZE {
        return Err(io::Error::other("expected a mail of at most 50 MB"));
    }
    Ok(())
}

/// Returns a mail of an mbox without the `>` that it has before lines which would begin another mail.
fn unescaped(mail: &[u8]) -> Vec<u8> {
    let lines = mail.split_inclusive(|&byte| byte == b'\n');
    let lines = lines.map(|line| {
        let quoted = line.iter().take_while(|&&byte| byte == b'>').count();
        let is_escaped = quoted > 0 && line[quoted..].starts_with(FROM_LINE);
        &line[usize::from(is_escaped)..]
    });
    lines.collect::<Vec<_>>().concat()
}

/// Returns the first `count` built-in mails.
pub fn built_in(count: usize) -> impl Iterator<Item = Mail> {
    (1..=count).map(Mail::BuiltIn)
}

/// Finds the mails at `path`: in the file itself, or in every file in the directory and below it, sorted by
/// path. A file may be an mbox. Does not follow links to directories, because they may form a cycle.
///
/// # Errors
///
/// Fails if the path or a directory below it cannot be read.
pub fn find(path: &Path) -> io::Result<Vec<Mail>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(in_file(path.to_owned()));
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let is_folder = entry.file_type()?.is_dir();
            if is_folder {
                folders.push(entry.path());
            } else if !fs::metadata(entry.path()).is_ok_and(|target| target.is_dir()) {
                // A file that cannot be read is reported when it is sent.
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found.into_iter().flat_map(in_file).collect())
}

/// The mail, or the mails, in a file.
fn in_file(path: PathBuf) -> Vec<Mail> {
    match places_in_mbox(&path) {
        Ok(places) if !places.is_empty() => {
            let mails = places.into_iter();
            mails.map(|at| Mail::InMbox(path.clone(), at)).collect()
        }
        _ => vec![Mail::File(path)],
    }
}

/// Finds the mails of an mbox, each without the line before it. None if the file is no mbox.
fn places_in_mbox(path: &Path) -> io::Result<Vec<Range<u64>>> {
    let mut places: Vec<Range<u64>> = Vec::new();
    if !fs::metadata(path)?.is_file() {
        return Ok(places);
    }
    let mut reader = BufReader::new(File::open(path)?);
    let (mut at, mut is_after_empty, mut is_line_begin) = (0, true, true);
    loop {
        let mut line = Vec::new();
        // A line of any length is read in parts.
        let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line)?;
        let is_from = is_line_begin && is_after_empty && line.starts_with(FROM_LINE);
        let end = at + read as u64;
        if is_from {
            places.push(end..end);
        } else if let Some(last) = places.last_mut() {
            last.end = end;
        }
        if read == 0 || places.is_empty() {
            return Ok(places);
        }
        is_after_empty = is_line_begin && line.trim_ascii().is_empty();
        is_line_begin = line.ends_with(b"\n");
        at = end;
    }
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
    fn an_mbox_gives_each_of_its_mails() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mbox");
        let mbox = "From a@x Mon Nov 30 03:00:00 2026\nSubject: 1\n\nhello\nFrom the start\n>From here\n\n\
                    From b@x Mon Nov 30 03:00:01 2026\nSubject: 2\n\nend\n";
        fs::write(&file, mbox).unwrap();
        let mails = find(&file).unwrap();
        let texts = mails
            .iter()
            .map(|mail| String::from_utf8(mail.bytes().unwrap()).unwrap());
        let expected = [
            "Subject: 1\n\nhello\nFrom the start\nFrom here\n\n",
            "Subject: 2\n\nend\n",
        ];
        assert_eq!(texts.collect::<Vec<_>>(), expected);
        assert_eq!(mails[1].name(), format!("{} at byte 113", file.display()));
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
