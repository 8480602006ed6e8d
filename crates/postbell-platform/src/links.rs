//! Links that sign somebody in once.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use postbell_core::{LinkDigest, Principal, Sessions, SessionsError, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::random::{Random, random_text};

/// Where such links lead to.
pub(crate) const LINK_PATH: &str = "/sign-in/link";

/// Makes links that sign somebody in once, and uses them up.
pub struct SignInLinks {
    /// Where their digests are kept.
    pub sign_ins: Arc<dyn Sessions>,
    /// What makes each secret.
    pub random: Random,
    /// Base URL of the pages.
    pub url: Url,
}

impl SignInLinks {
    /// Makes a link that is good once, for so long.
    ///
    /// # Errors
    ///
    /// What keeps it from being stored.
    pub async fn make(
        &self,
        visitor: &Principal,
        good_for: Duration,
        now: Timestamp,
    ) -> Result<SecretString, SessionsError> {
        let secret = random_text(&self.random);
        let link = digest_of(&secret);
        let added = self.sign_ins.add_link(link, visitor, now + good_for, now);
        added.await?;
        let base = self.url.as_str().trim_end_matches('/');
        Ok(format!("{base}{LINK_PATH}/{secret}").into())
    }

    /// Uses a link up, and returns whom it signs in.
    pub(crate) async fn take(
        &self,
        secret: &SecretString,
        now: Timestamp,
    ) -> Result<Option<Principal>, SessionsError> {
        let link = digest_of(secret.expose_secret());
        self.sign_ins.take_link(link, now).await
    }

    /// A name for an operator who has no other.
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
