//! API keys of operators, and the tokens of users' setup tools.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;

use crate::{InvalidId, StoreError, Timestamp, UserId};

/// The time of a token's last use is stored at most this often.
pub const TOKEN_USE_INTERVAL: Duration = Duration::from_secs(60);

/// The public id of a token: 16 hex digits.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TokenId(String);

/// The SHA-256 digest of a token, which cannot be used as one.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TokenDigest(pub [u8; 32]);

/// What a token permits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenScope {
    /// An API key that reads.
    Read,
    /// An API key that reads and changes.
    Write,
    /// A token with which a user's setup tool connects the user's Google account.
    Setup,
}

/// An API key or a user's token, without its secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessToken {
    /// Its public id.
    pub id: TokenId,
    /// Who uses it, or what for.
    pub name: String,
    /// Its permission.
    pub scope: TokenScope,
    /// Whose it is; `None` for an API key.
    pub user: Option<UserId>,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used, to a minute.
    pub last_used_at: Option<Timestamp>,
}

impl AccessToken {
    /// Whether a use at this time is to be stored.
    #[must_use]
    pub fn is_use_due(&self, now: Timestamp) -> bool {
        let is_recent = |at: Timestamp| at + TOKEN_USE_INTERVAL > now && at <= now;
        !self.last_used_at.is_some_and(is_recent)
    }
}

/// A durable store of tokens, by the digests of their secrets.
///
/// - A token is found until it expires, is revoked, or its user is removed.
/// - Expired tokens are deleted when another one is added.
/// - The time of the last use is stored at most once in [`TOKEN_USE_INTERVAL`].
#[async_trait]
pub trait AccessTokens: Send + Sync {
    /// Adds a token.
    async fn add(&self, token: &AccessToken, digest: TokenDigest) -> Result<(), StoreError>;

    /// Returns the token with this digest, and records its use. `None` if there is none, or it has
    /// expired.
    async fn find(
        &self,
        digest: TokenDigest,
        now: Timestamp,
    ) -> Result<Option<AccessToken>, StoreError>;

    /// Lists up to `limit` tokens by id, also expired ones that are not deleted yet: API keys and the
    /// tokens of all users, or of one.
    async fn list(
        &self,
        user: Option<&UserId>,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Vec<AccessToken>, StoreError>;

    /// Deletes a token, and returns whether it existed.
    async fn revoke(&self, id: &TokenId) -> Result<bool, StoreError>;

    /// Deletes all tokens of a user, and returns how many.
    async fn revoke_user(&self, user: &UserId) -> Result<u64, StoreError>;
}

impl TokenId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 16 && text.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId {
                expected: "the id of a token: 16 hex digits",
            })
        }
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest")
    }
}

impl TokenScope {
    /// The word that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Setup => "setup",
        }
    }
}

impl FromStr for TokenScope {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let all = [Self::Read, Self::Write, Self::Setup];
        let found = all.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or(InvalidId {
            expected: "the scope of a token: read, write or setup",
        })
    }
}
