//! Finds an account's state file, also under another spelling of its address.

use std::fs;
use std::path::{Path, PathBuf};

use postbell_core::EmailAddress;
use serde::Deserialize;

use super::file_name;

/// The part of a state file that names its mailbox.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    account: String,
}

/// Returns the path of an account's state file in `folder`: the one named after this spelling of the
/// address (as `gog` names it), else an existing one of the same mailbox, so that a mailbox that is
/// spelled in two ways has one cursor and one lock.
#[must_use]
pub fn state_path(folder: &Path, account: &str) -> PathBuf {
    let path = folder.join(file_name(account));
    if path.exists() {
        return path;
    }
    same_mailbox(folder, account).unwrap_or(path)
}

/// Returns the mailbox of an address that may name a further webhook of it, as `ann@example.com/audit`.
#[must_use]
pub fn mailbox_of(address: &str) -> &str {
    let Some((local, rest)) = address.rsplit_once('@') else {
        return address;
    };
    let domain = rest.split('/').next().unwrap_or(rest);
    &address[..local.len() + 1 + domain.len()]
}

fn same_mailbox(folder: &Path, account: &str) -> Option<PathBuf> {
    let account: EmailAddress = account.parse().ok()?;
    let files = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let mut files: Vec<_> = files
        .map(|file| file.path())
        .filter(|file| file.extension().is_some_and(|ending| ending == "json"))
        .collect();
    // Always the same one, should there be several.
    files.sort();
    files.into_iter().find(|file| {
        let state = fs::read(file).ok();
        let named = state.and_then(|state| serde_json::from_slice::<Named>(&state).ok());
        named.is_some_and(|named| account.is_same_mailbox(&named.account))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_found_under_another_spelling_and_never_another_mailboxs() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let saved = folder.join("first_last_gmail_com.json");
        fs::write(&saved, r#"{"account":"First.Last@gmail.com"}"#).unwrap();
        fs::write(folder.join("broken.json"), "{").unwrap();
        fs::write(folder.join("ann_example_com.json"), r#"{"account":7}"#).unwrap();
        for spelling in ["First.Last@gmail.com", "firstlast@googlemail.com"] {
            assert_eq!(state_path(folder, spelling), saved, "{spelling}");
        }
        for (other, name) in [
            ("first@gmail.com", "first_gmail_com.json"),
            ("first.last@example.com", "first_last_example_com.json"),
        ] {
            assert_eq!(state_path(folder, other), folder.join(name));
        }
        // The file that gog would use wins once it exists.
        let own = folder.join("firstlast_googlemail_com.json");
        fs::write(&own, "{}").unwrap();
        assert_eq!(state_path(folder, "firstlast@googlemail.com"), own);
    }

    #[test]
    fn an_address_may_name_a_webhook_of_its_mailbox() {
        for (address, mailbox) in [
            ("ann@example.com", "ann@example.com"),
            ("ann@example.com/audit", "ann@example.com"),
            ("a/b@example.com/audit", "a/b@example.com"),
            ("ann", "ann"),
        ] {
            assert_eq!(mailbox_of(address), mailbox);
        }
    }
}
