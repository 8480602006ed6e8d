//! The bearer tokens of users' setup tools.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use postbell_core::{Timestamp, TokenId, UserId, UserRecord};
use postbell_http::constant_time_eq;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Prefix of every token: it names the product and the version of the format.
const PREFIX: &str = "postbell3";

/// Issues and verifies the bearer tokens for `/api/admin/*`: `postbell3.CLAIMS.SIGNATURE`. `CLAIMS` is
/// base64url of claims as JSON, and `SIGNATURE` the HMAC-SHA256 of the text before it. It is the shape of a
/// JWT, because KiloClaw's setup tool reads the user id from the second part of its token.
///
/// A token is valid until it expires, the secret changes or the user is removed; a new user with the same id
/// does not revive it. The digest of one that names an id is stored, and it is valid until it is revoked; older
/// ones name none.
#[derive(Clone)]
pub struct UserTokens(hmac::Key);

/// What a token says.
#[derive(Deserialize, Serialize)]
struct Claims {
    /// The user's id.
    sub: String,
    /// When the user was added, in milliseconds since the epoch.
    added: i64,
    /// When the token expires, in seconds since the epoch.
    exp: i64,
    /// Under which id its digest is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
}

/// What a valid token says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedToken {
    /// The user.
    pub user: UserId,
    /// When the user was added.
    pub added: Timestamp,
    /// Whether the token is valid only as long as its digest is stored.
    pub is_stored: bool,
}

impl UserTokens {
    /// Derives the signing key from `secret`, which may have other uses.
    #[must_use]
    pub fn new(secret: &SecretString) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let key = hmac::sign(&secret, b"postbell user tokens");
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }

    /// Issues a token for the user of `record` that is valid until `expires_at`.
    #[must_use]
    pub fn issue(&self, record: &UserRecord, expires_at: Timestamp) -> SecretString {
        self.token(record, None, expires_at)
    }

    /// Issues such a token whose digest the caller stores under `id`.
    #[must_use]
    pub fn issue_stored(
        &self,
        record: &UserRecord,
        id: &TokenId,
        expires_at: Timestamp,
    ) -> SecretString {
        self.token(record, Some(id), expires_at)
    }

    fn token(
        &self,
        record: &UserRecord,
        id: Option<&TokenId>,
        expires_at: Timestamp,
    ) -> SecretString {
        let claims = json!(Claims {
            jti: id.map(TokenId::to_string),
            sub: record.user.to_string(),
            added: record.created_at.as_millis(),
            exp: expires_at.as_secs(),
        });
        let claims = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
        let signed = format!("{PREFIX}.{claims}");
        let signature = self.signature(&signed);
        format!("{signed}.{signature}").into()
    }

    /// Returns what a valid token says. The caller checks whether that user still exists, and whether the
    /// token is stored if it must be.
    #[must_use]
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<VerifiedToken> {
        let (signed, signature) = token.rsplit_once('.')?;
        if !constant_time_eq(self.signature(signed), signature) {
            return None;
        }
        let claims = signed.strip_prefix(PREFIX)?.strip_prefix('.')?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        if claims.exp <= now.as_secs() {
            return None;
        }
        Some(VerifiedToken {
            user: claims.sub.parse().ok()?,
            added: Timestamp::from_millis(claims.added),
            is_stored: claims.jti.is_some(),
        })
    }

    fn signature(&self, signed: &str) -> String {
        hex::encode(hmac::sign(&self.0, signed.as_bytes()))
    }
}

impl fmt::Debug for UserTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserTokens")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postbell_core::{InstanceStatus, MachineLocation, NewUser, SandboxId};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn record(name: &str) -> UserRecord {
        let user: UserId = name.parse().unwrap();
        let new = NewUser {
            sandbox_id: SandboxId::from(&user),
            user,
            status: InstanceStatus::Running,
            location: MachineLocation::Unknown,
            wake_on_mail: false,
        };
        UserRecord::new(new, NOW)
    }

    #[test]
    fn a_token_is_valid_until_it_expires() {
        let tokens = UserTokens::new(&"secret".into());
        let record = record("oauth/google:a.b@x");
        let token = tokens.issue(&record, NOW + HOUR);
        let token = token.expose_secret();
        let expected = Some(VerifiedToken {
            user: record.user,
            added: NOW,
            is_stored: false,
        });
        assert_eq!(tokens.verify(token, NOW), expected);
        let almost = NOW + (HOUR - Duration::from_secs(1));
        assert_eq!(tokens.verify(token, almost), expected);
        assert_eq!(tokens.verify(token, NOW + HOUR), None);
        assert_eq!(UserTokens::new(&"other".into()).verify(token, NOW), None);
    }

    #[test]
    fn kiloclaws_setup_tool_finds_the_user_in_a_token() {
        let token = UserTokens::new(&"secret".into()).issue(&record("ann"), NOW + HOUR);
        // As a JWT: <https://github.com/Kilo-Org/cloud>, `google-setup/setup.mjs`.
        let part = token.expose_secret().split('.').nth(1).unwrap();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["sub"], "ann");
    }

    #[test]
    fn a_changed_token_is_invalid() {
        let tokens = UserTokens::new(&"secret".into());
        let token = tokens.issue(&record("ann"), NOW + HOUR);
        let token = token.expose_secret();
        for index in 0..token.len() {
            let mut changed = token.as_bytes().to_vec();
            changed[index] = if changed[index] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(tokens.verify(&changed, NOW), None, "{index}");
        }
        for wrong in ["", ".", "a.b.c.d", "a.b.c.d.e", &token[..token.len() - 1]] {
            assert_eq!(tokens.verify(wrong, NOW), None, "{wrong}");
        }
    }
}
