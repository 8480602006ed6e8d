//! Secret tokens in the URLs of push endpoints.

use std::fmt;

use aws_lc_rs::hmac;
use postbell_core::UserId;
use postbell_http::constant_time_eq;
use secrecy::{ExposeSecret, SecretString};

/// The length of a token in hex digits (protocol, section 1).
const DIGITS: usize = 32;

/// Derives and checks tokens in URLs: the first 32 hex digits of HMAC-SHA256(secret, user).
#[derive(Clone)]
pub struct UrlTokenKey(hmac::Key);

impl UrlTokenKey {
    /// Derives the key from `secret`.
    #[must_use]
    pub fn new(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Returns the token in a user's URL.
    #[must_use]
    pub fn token(&self, user: &UserId) -> String {
        let tag = hmac::sign(&self.0, user.as_str().as_bytes());
        hex::encode(&tag.as_ref()[..DIGITS / 2])
    }

    /// Returns whether a token is the user's, in constant time.
    pub(crate) fn is_token_of(&self, user: &UserId, token: &str) -> bool {
        constant_time_eq(self.token(user), token)
    }
}

impl fmt::Debug for UrlTokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UrlTokenKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_first_half_of_the_hmac() {
        // The value of `printf ann | openssl dgst -sha256 -hmac Jefe`.
        let key = UrlTokenKey::new(&"Jefe".into());
        let [ann, bob] = ["ann", "bob"].map(|name| name.parse::<UserId>().unwrap());
        let token = key.token(&ann);
        assert_eq!(token, "a559bed2d5b256281efc2e3c8f7890ed");
        assert!(key.is_token_of(&ann, &token));
        for wrong in ["", &token[..31], &token.to_uppercase(), &key.token(&bob)] {
            assert!(!key.is_token_of(&ann, wrong), "{wrong}");
        }
    }
}
