//! Variables that only the machine can read.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret, SecretString};

/// What an encrypted value begins with.
const PREFIX: &str = "enc:v1:";

/// The key that a machine has as `KILOCLAW_ENV_KEY`, a secret of its app: what is encrypted under
/// it may stand in the machine's configuration, which more people can read.
///
/// A value is `enc:v1:` and base64 of a 12-byte nonce, the AES-256-GCM ciphertext and its tag, as
/// KiloClaw's controllers have it.
pub struct EnvKey(RandomizedNonceKey);

/// A text that is no such key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected base64 of 32 bytes, such as `openssl rand -base64 32` prints")]
pub struct InvalidEnvKey;

impl EnvKey {
    /// The key that a text holds.
    ///
    /// # Errors
    ///
    /// [`InvalidEnvKey`] where it holds none.
    pub fn from_base64(text: &SecretString) -> Result<Self, InvalidEnvKey> {
        let key = BASE64_STANDARD.decode(text.expose_secret().trim());
        let key = key.map_err(|_| InvalidEnvKey)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key);
        key.map(Self).map_err(|_| InvalidEnvKey)
    }

    pub(super) fn seal(&self, text: &str) -> String {
        let mut encrypted = text.as_bytes().to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::empty(), &mut encrypted);
        #[expect(
            clippy::expect_used,
            reason = "without randomness nothing secret can be said"
        )]
        let nonce = nonce.expect("the system gives random bytes");
        let sealed = [nonce.as_ref(), &encrypted[..]].concat();
        format!("{PREFIX}{}", BASE64_STANDARD.encode(sealed))
    }

    /// What is encrypted in a value, if it is one of this key's.
    pub(super) fn open(&self, value: &str) -> Option<String> {
        let sealed = BASE64_STANDARD.decode(value.strip_prefix(PREFIX)?).ok()?;
        let (nonce, encrypted) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut encrypted = encrypted.to_vec();
        let text = self.0.open_in_place(nonce, Aad::empty(), &mut encrypted);
        String::from_utf8(text.ok()?.to_vec()).ok()
    }
}

impl fmt::Debug for EnvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_32_bytes_in_base64() {
        for text in ["", "hunter2", "AAAA"] {
            assert!(EnvKey::from_base64(&text.into()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_another_key_or_nobody_has_sealed_is_not_opened() {
        let key = |byte: u8| {
            let text = BASE64_STANDARD.encode([byte; 32]);
            EnvKey::from_base64(&text.into()).unwrap()
        };
        let sealed = key(1).seal("ü");
        assert_eq!(key(1).open(&sealed).as_deref(), Some("ü"));
        for value in [
            &*key(2).seal("ü"),
            "ü",
            "enc:v1:",
            "enc:v1:AAAA",
            "enc:v2:x",
        ] {
            assert_eq!(key(1).open(value), None, "{value}");
        }
    }
}
