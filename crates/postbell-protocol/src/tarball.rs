//! The credentials tarball (protocol, sections 2 and 4): base64 of a tar.gz of the folder `gogcli`,
//! which contains `gog`'s keyring, its OAuth client and the state of the watch.

mod unpack;

use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tar::{Builder, Header};

pub use self::unpack::{UnpackError, unpack};
use crate::gog_keyring::{GogCredentials, GogKeyring, KeyringItem};
use crate::watch_state::{self, WatchState};

/// The folder that contains everything in the tarball.
pub const FOLDER: &str = "gogcli";

/// The password of the keyring in the tarball, fixed by KiloClaw. It is not a secret: the envelope
/// around the tarball is what protects it.
pub const KEYRING_PASSWORD: &str = "kiloclaw";

/// Packs the credentials and the state of the mailbox `state.account`. Returns base64 of the tar.gz.
/// `random` must fill its argument from a cryptographically secure source.
///
/// # Errors
///
/// [`io::Error`] if the keyring item cannot be encrypted. This has not been seen.
pub fn pack(
    credentials: &GogCredentials,
    state: &WatchState,
    random: &dyn Fn(&mut [u8]),
) -> io::Result<SecretString> {
    let token = KeyringItem::encrypt(
        &state.account,
        &credentials.refresh_token,
        KEYRING_PASSWORD,
        random,
    );
    let token = token.ok_or_else(|| io::Error::other("the keyring cannot be encrypted"))?;
    let client = json!({
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret.expose_secret(),
    });
    let state_file = watch_state::file_name(&state.account);
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (path, content) in [
        ("credentials.json".to_owned(), client.to_string()),
        (format!("keyring/{}", token.file_name), token.content),
        (
            format!("{}/{state_file}", watch_state::FOLDER),
            serde_json::to_string(state)?,
        ),
    ] {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, format!("{FOLDER}/{path}"), content.as_bytes())?;
    }
    let gzip = tar.into_inner()?.finish()?;
    Ok(BASE64_STANDARD.encode(gzip).into())
}

/// Returns the credentials of `account` in a tarball; `None` if it has none. Unpacks it into a temporary
/// folder, as the machine does. Blocks on the disk.
#[must_use]
pub fn gog_credentials(tarball: &SecretString, account: &str) -> Option<GogCredentials> {
    let folder = tempfile::tempdir().ok()?;
    unpack(tarball, folder.path(), FOLDER).ok()?;
    let gog = folder.path().join(FOLDER);
    let keyring = GogKeyring {
        keyring: gog.join("keyring"),
        clients: vec![gog],
    };
    keyring.credentials(account, "", KEYRING_PASSWORD).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use postbell_core::HistoryId;

    use super::*;
    use crate::gog_keyring::GogKeyring;

    #[test]
    fn a_packed_tarball_is_unpacked_and_opens_the_mailbox() {
        let credentials = GogCredentials {
            client_id: "id".to_owned(),
            client_secret: "secret".into(),
            refresh_token: "1//token".into(),
        };
        let state = WatchState {
            account: "Ann@example.com".to_owned(),
            topic: "projects/p/topics/t".to_owned(),
            history_id: Some(HistoryId::new(7)),
            ..WatchState::default()
        };
        let tarball = pack(&credentials, &state, &|bytes| bytes.fill(3)).unwrap();
        let into = tempfile::tempdir().unwrap();
        unpack(&tarball, into.path(), FOLDER).unwrap();

        let gog = into.path().join(FOLDER);
        let keyring = GogKeyring {
            keyring: gog.join("keyring"),
            clients: vec![gog.clone()],
        };
        let read = keyring.credentials("ann@example.com", "default", KEYRING_PASSWORD);
        let read = read.unwrap();
        assert_eq!(read.client_id, "id");
        assert_eq!(read.client_secret.expose_secret(), "secret");
        assert_eq!(read.refresh_token.expose_secret(), "1//token");
        let read = fs::read(gog.join("state/gmail-watch/ann_example_com.json")).unwrap();
        let read: WatchState = serde_json::from_slice(&read).unwrap();
        assert_eq!(read, state);
    }
}
