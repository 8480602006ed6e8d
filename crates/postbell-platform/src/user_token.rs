//! The tokens that a user's setup tool shows.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use postbell_core::{Timestamp, UserId};
use secrecy::{ExposeSecret, SecretString};

use crate::secret::{hex, is_same};

/// What every token begins with: what it is, for people who find one, and of which form.
const PREFIX: &str = "postbell1";

/// Makes and checks the bearer tokens for `/api/admin/*`: `postbell1.USER.EXPIRY.SIGNATURE`, with
/// the user in base64url, the expiry in seconds since the epoch, and HMAC-SHA256 over all before it.
///
/// Nothing is stored: a token is good until it expires, or the secret changes.
#[derive(Clone)]
pub struct UserTokens(hmac::Key);

impl UserTokens {
    /// The tokens made with `secret`, or rather with a key made of it for this purpose alone: it may
    /// be the secret of other things.
    #[must_use]
    pub fn new(secret: &SecretString) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let key = hmac::sign(&secret, b"postbell user tokens");
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }

    /// Returns a token for `user` that is good until `expires_at`.
    #[must_use]
    pub fn issue(&self, user: &UserId, expires_at: Timestamp) -> SecretString {
        let user = BASE64_URL_SAFE_NO_PAD.encode(user.as_str());
        let signed = format!("{PREFIX}.{user}.{}", expires_at.as_secs());
        let signature = self.signature(&signed);
        format!("{signed}.{signature}").into()
    }

    /// Returns whose token it is, or `None` where it is none of ours, or not any more.
    #[must_use]
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<UserId> {
        let (signed, signature) = token.rsplit_once('.')?;
        if !is_same(self.signature(signed).as_bytes(), signature.as_bytes()) {
            return None;
        }
        let [prefix, user, expiry] = signed.split('.').collect::<Vec<_>>().try_into().ok()?;
        let expiry: i64 = expiry.parse().ok()?;
        if prefix != PREFIX || expiry <= now.as_secs() {
            return None;
        }
        let user = BASE64_URL_SAFE_NO_PAD.decode(user).ok()?;
        String::from_utf8(user).ok()?.parse().ok()
    }

    fn signature(&self, signed: &str) -> String {
        hex(hmac::sign(&self.0, signed.as_bytes()).as_ref())
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

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_token_is_its_users_until_it_expires() {
        let tokens = UserTokens::new(&"secret".into());
        let user: UserId = "oauth/google:a.b@x".parse().unwrap();
        let token = tokens.issue(&user, NOW + HOUR);
        let token = token.expose_secret();
        assert_eq!(tokens.verify(token, NOW), Some(user.clone()));
        let almost = NOW + (HOUR - Duration::from_secs(1));
        assert_eq!(tokens.verify(token, almost), Some(user));
        assert_eq!(tokens.verify(token, NOW + HOUR), None);
        assert_eq!(UserTokens::new(&"other".into()).verify(token, NOW), None);
    }

    #[test]
    fn a_token_that_was_changed_is_nobodys() {
        let tokens = UserTokens::new(&"secret".into());
        let token = tokens.issue(&"ann".parse().unwrap(), NOW + HOUR);
        let token = token.expose_secret();
        for place in 0..token.len() {
            let mut changed = token.as_bytes().to_vec();
            changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(tokens.verify(&changed, NOW), None, "{place}");
        }
        for wrong in ["", ".", "a.b.c.d", &token[..token.len() - 1]] {
            assert_eq!(tokens.verify(wrong, NOW), None, "{wrong}");
        }
    }
}
