//! The local credentials file: a grant in Google's `authorized_user` format.

use std::io;
use std::path::Path;

use postbell_google::{AuthorizedUser, Credentials};
use postbell_protocol::private_file::FileError;

use crate::error::{Blocker, Result, SetupError};
use crate::ledger::CredentialKey;

/// Reads the grant in a file; `None` if there is no file.
///
/// # Errors
///
/// If the file has other content, which must not be overwritten.
pub(super) fn read(file: &Path, mailbox: &str) -> Result<Option<AuthorizedUser>> {
    let problem = match Credentials::from_file(file, mailbox) {
        Ok(Credentials::AuthorizedUser(user)) => return Ok(Some(user)),
        Err(FileError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(FileError::Unreadable { source, .. }) => format!("cannot be read: {source}"),
        _ => "is not an OAuth grant and is not overwritten; pass another file with --credentials"
            .to_owned(),
    };
    Err(file_error(file, &problem))
}

/// Finds the grant of a key, if its file still has it.
pub(super) fn find(key: &CredentialKey) -> Option<AuthorizedUser> {
    let user = read(key.file.as_deref()?, &key.mailbox).ok()??;
    (user.client_id == key.client).then_some(user)
}

pub(super) fn write(file: &Path, user: &AuthorizedUser) -> Result<()> {
    user.write(file)
        .map_err(|error| file_error(file, &format!("cannot be written: {error}")))
}

/// Deletes a file. Returns `false` if the file has other content and was kept.
pub(super) fn remove(file: &Path) -> Result<bool> {
    if read(file, "").is_err() {
        return Ok(false);
    }
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(file_error(file, &format!("cannot be removed: {error}")))
        }
        _ => Ok(true),
    }
}

fn file_error(file: &Path, problem: &str) -> SetupError {
    SetupError::new(Blocker::File(format!("{} {problem}", file.display())))
}
