//! API keys.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use postbell_core::{AccessToken, AccessTokens, StoreError, Timestamp, TokenDigest, TokenScope};
use secrecy::{ExposeSecret, SecretString};

use crate::random::{Random, random_text};

/// Begins every API key, so that scanners for secrets find one.
const PREFIX: &str = "postbell_key_";

/// The length of the text after the prefix: 32 bytes in base64url.
const SECRET_CHARS: usize = 43;

/// Issues and verifies API keys. Only their digests are stored.
pub struct ApiKeys {
    /// Stores the digests.
    pub tokens: Arc<dyn AccessTokens>,
    /// Generates the secrets.
    pub random: Random,
}

/// An issued API key.
pub struct ApiKey {
    /// Its stored record.
    pub token: AccessToken,
    /// The key. It is shown once.
    pub key: SecretString,
}

impl ApiKeys {
    /// Issues an API key.
    ///
    /// # Errors
    ///
    /// If it cannot be stored.
    pub async fn issue(
        &self,
        name: &str,
        scope: TokenScope,
        valid_for: Duration,
        now: Timestamp,
    ) -> Result<ApiKey, StoreError> {
        let key = format!("{PREFIX}{}", random_text(&self.random));
        let token = AccessToken {
            id: token_id(&self.random)?,
            name: name.to_owned(),
            scope,
            user: None,
            created_at: now,
            expires_at: now + valid_for,
            last_used_at: None,
        };
        self.tokens.add(&token, digest_of(&key)).await?;
        let key = key.into();
        Ok(ApiKey { token, key })
    }

    /// Returns what is stored of an API key, and records its use. `None` if it is not valid.
    ///
    /// # Errors
    ///
    /// If the store cannot be read or written.
    pub async fn verify(
        &self,
        key: &SecretString,
        now: Timestamp,
    ) -> Result<Option<AccessToken>, StoreError> {
        let key = key.expose_secret();
        // A text that cannot be a key costs no look-up.
        let secret = key.strip_prefix(PREFIX);
        if secret.is_none_or(|secret| secret.len() != SECRET_CHARS) {
            return Ok(None);
        }
        let found = self.tokens.find(digest_of(key), now).await?;
        Ok(found.filter(|token| token.scope != TokenScope::Setup))
    }
}

/// Generates a token's public id.
pub(super) fn token_id(random: &Random) -> Result<postbell_core::TokenId, StoreError> {
    let id = hex::encode(&random()[..8]).parse();
    id.map_err(|error: postbell_core::InvalidId| StoreError::Unavailable(error.into()))
}

/// Returns the digest of a token's text.
pub(crate) fn digest_of(token: &str) -> TokenDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    TokenDigest(bytes)
}
