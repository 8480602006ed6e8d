//! What opens the mailbox, packed as a controller takes it (contract, sections 2 and 4): the folder
//! `gogcli` with its keyring, its OAuth client, and where the watch stands.

use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use postbell_core::Timestamp;
use postbell_google::{AuthorizedUser, GogToken, WatchStarted};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tar::{Builder, Header};

/// The password of the keyring: a fixed word of KiloClaw's, and no secret. The envelope around it is
/// what keeps it from strangers.
const PASSWORD: &str = "kiloclaw";

/// What is packed.
pub(crate) struct Packed<'a> {
    pub(crate) mailbox: &'a str,
    pub(crate) user: &'a AuthorizedUser,
    pub(crate) topic: &'a str,
    pub(crate) labels: &'a [&'a str],
    pub(crate) watch: Option<WatchStarted>,
    pub(crate) now: Timestamp,
}

impl Packed<'_> {
    /// Base64 of the tar.gz.
    pub(crate) fn tarball(&self, random: &dyn Fn(&mut [u8])) -> io::Result<SecretString> {
        let token = GogToken::seal(self.mailbox, &self.user.refresh_token, PASSWORD, random);
        let token = token.ok_or_else(|| io::Error::other("the keyring cannot be sealed"))?;
        let client = json!({
            "client_id": self.user.client_id,
            "client_secret": self.user.client_secret.expose_secret(),
        });
        let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (path, content) in [
            ("gogcli/credentials.json".to_owned(), client.to_string()),
            (format!("gogcli/keyring/{}", token.file_name), token.content),
            (
                format!("gogcli/state/gmail-watch/{}.json", self.state_name()),
                self.state(),
            ),
        ] {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            tar.append_data(&mut header, path, content.as_bytes())?;
        }
        let gzip = tar.into_inner()?.finish()?;
        Ok(BASE64_STANDARD.encode(gzip).into())
    }

    /// The account, lower-cased, with `_` for every character outside `a-z0-9`.
    fn state_name(&self) -> String {
        let plain = |character: char| match character {
            'a'..='z' | '0'..='9' => character,
            _ => '_',
        };
        self.mailbox.to_lowercase().chars().map(plain).collect()
    }

    fn state(&self) -> String {
        let mut state = json!({
            "account": self.mailbox,
            "topic": self.topic,
            "labels": self.labels,
            "updatedAtMs": self.now.as_millis(),
        });
        if let Some(watch) = self.watch {
            let ends_at = watch.expiration.as_millis();
            state["historyId"] = watch.history_id.to_string().into();
            state["expirationMs"] = ends_at.into();
            state["providerExpirationMs"] = ends_at.into();
        }
        state.to_string()
    }
}
