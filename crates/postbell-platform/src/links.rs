//! One-time sign-in links.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use postbell_core::{LinkDigest, Principal, Sessions, SignInLink, StoreError, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::random::{Random, random_text};

/// The path of sign-in links; the secret follows it.
pub(crate) const LINK_PATH: &str = "/sign-in/link";

/// Issues and redeems one-time sign-in links.
pub struct SignInLinks {
    /// Stores the digests of links and the epochs of sessions.
    pub sessions: Arc<dyn Sessions>,
    /// Generates the secrets.
    pub random: Random,
    /// Base URL of the pages.
    pub url: Url,
}

impl SignInLinks {
    /// Issues a link that is valid once, for the given time.
    ///
    /// # Errors
    ///
    /// If the link cannot be stored.
    pub async fn issue(
        &self,
        principal: &Principal,
        valid_for: Duration,
        now: Timestamp,
    ) -> Result<SecretString, StoreError> {
        let secret = random_text(&self.random);
        let link = digest_of(&secret);
        let added = self
            .sessions
            .add_link(link, principal, now + valid_for, now);
        added.await?;
        let base = self.url.as_str().trim_end_matches('/');
        Ok(format!("{base}{LINK_PATH}/{secret}").into())
    }

    /// Redeems a link. Returns the principal that it signs in, or `None` if it is not valid.
    pub(crate) async fn redeem(
        &self,
        secret: &SecretString,
        now: Timestamp,
    ) -> Result<Option<Principal>, StoreError> {
        let link = digest_of(secret.expose_secret());
        self.sessions.redeem_link(link, now).await
    }

    /// Returns what a link does, without using it up, or `None` if it is not valid.
    pub(crate) async fn find(
        &self,
        secret: &SecretString,
        now: Timestamp,
    ) -> Result<Option<SignInLink>, StoreError> {
        let link = digest_of(secret.expose_secret());
        self.sessions.find_link(link, now).await
    }

    /// Generates a name for the session of an operator without an address.
    #[must_use]
    pub fn operator_name(&self) -> String {
        let mut name = random_text(&self.random);
        name.truncate(12);
        name
    }
}

fn digest_of(secret: &str) -> LinkDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    LinkDigest(bytes)
}
