//! Encrypted environment variables (protocol, section 4).
//!
//! The platform stores a secret `X` in the machine's configuration as `KILOCLAW_ENC_X`, because more
//! people can read that configuration than may read the secret. The value is `enc:v1:` followed by
//! base64 of a 12-byte nonce, the AES-256-GCM ciphertext and its 16-byte tag. The key is in
//! `KILOCLAW_ENV_KEY`, base64 of 32 bytes, a secret of the Fly app
//! (<https://github.com/Kilo-Org/cloud>, `kiloclaw/controller/src/bootstrap.ts`).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStringExt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret, SecretString};

/// The prefix of an encrypted variable's name.
pub const ENCRYPTED_NAME_PREFIX: &str = "KILOCLAW_ENC_";

/// The variable that contains the key.
pub const KEY_VARIABLE: &str = "KILOCLAW_ENV_KEY";

const VALUE_PREFIX: &str = "enc:v1:";

/// Encrypts and decrypts values of environment variables.
pub struct EnvKey(RandomizedNonceKey);

/// The text is not a key for environment variables.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected base64 of 32 bytes, such as `openssl rand -base64 32` prints")]
pub struct InvalidEnvKey;

/// Why encrypted variables cannot be decrypted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EnvDecryptError {
    /// The key is missing or malformed.
    #[error("{KEY_VARIABLE}: expected base64 of 32 bytes, for there are encrypted variables")]
    NoKey,

    /// The name after the prefix is not a variable's name.
    #[error(
        "{ENCRYPTED_NAME_PREFIX}…: expected the name of a variable after it, of A-Z a-z 0-9 and _"
    )]
    Name,

    /// The value is malformed or was encrypted with another key.
    #[error("{name}: expected {VALUE_PREFIX} and what was encrypted with {KEY_VARIABLE}")]
    Value {
        /// The encrypted variable's name.
        name: String,
    },
}

impl EnvKey {
    /// Reads a key from base64.
    ///
    /// # Errors
    ///
    /// [`InvalidEnvKey`] if it is not base64 of 32 bytes.
    pub fn from_base64(text: &SecretString) -> Result<Self, InvalidEnvKey> {
        let key = BASE64_STANDARD.decode(text.expose_secret().trim());
        let key = key.map_err(|_| InvalidEnvKey)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key);
        key.map(Self).map_err(|_| InvalidEnvKey)
    }

    /// Derives a key from a secret that may have other uses. Another purpose gives another key.
    #[must_use]
    pub fn derived(secret: &SecretString, purpose: &str) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let key = hmac::sign(&secret, purpose.as_bytes());
        #[expect(
            clippy::expect_used,
            reason = "a tag of SHA-256 has the 32 bytes of a key"
        )]
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).expect("a key's length");
        Self(key)
    }

    /// Encrypts a value under a fresh nonce: two encryptions of the same text differ.
    #[must_use]
    pub fn encrypt(&self, text: &str) -> String {
        let mut encrypted = text.as_bytes().to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::empty(), &mut encrypted);
        #[expect(
            clippy::expect_used,
            reason = "nothing can be encrypted without random bytes"
        )]
        let nonce = nonce.expect("the system gives random bytes");
        let sealed = [nonce.as_ref(), &encrypted[..]].concat();
        format!("{VALUE_PREFIX}{}", BASE64_STANDARD.encode(sealed))
    }

    /// Decrypts a value, or returns `None` if this key did not encrypt it.
    #[must_use]
    pub fn decrypt(&self, value: &str) -> Option<Vec<u8>> {
        let sealed = value.strip_prefix(VALUE_PREFIX)?;
        let sealed = BASE64_STANDARD.decode(sealed).ok()?;
        let (nonce, encrypted) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut content = encrypted.to_vec();
        let length = self
            .0
            .open_in_place(nonce, Aad::empty(), &mut content)
            .ok()?
            .len();
        content.truncate(length);
        Some(content)
    }
}

impl fmt::Debug for EnvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvKey")
    }
}

/// Replaces encrypted variables by decrypted ones, and removes the key: no child process needs
/// either.
///
/// # Errors
///
/// [`EnvDecryptError`] if any of them cannot be decrypted: a process must not start with some
/// settings missing.
pub fn decrypt_variables(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(OsString, OsString)>, EnvDecryptError> {
    let mut key = None;
    let (mut encrypted, mut plain) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        if name == OsStr::new(KEY_VARIABLE) {
            key = Some(value);
        } else if is_encrypted(&name) {
            encrypted.push((name, value));
        } else {
            plain.push((name, value));
        }
    }
    if encrypted.is_empty() {
        return Ok(plain);
    }
    let key = key.and_then(|key| key.into_string().ok());
    let key = key.ok_or(EnvDecryptError::NoKey)?;
    let key = EnvKey::from_base64(&key.into()).map_err(|_| EnvDecryptError::NoKey)?;
    for (encrypted_name, value) in encrypted {
        let encrypted_name = encrypted_name.to_str().ok_or(EnvDecryptError::Name)?;
        let name = encrypted_name.strip_prefix(ENCRYPTED_NAME_PREFIX);
        let name = name.filter(|name| is_name(name));
        let name = name.ok_or(EnvDecryptError::Name)?;
        let value = value.to_str().and_then(|value| key.decrypt(value));
        // A variable cannot contain a zero byte.
        let value = value.filter(|value| !value.contains(&0));
        let value = value.ok_or_else(|| EnvDecryptError::Value {
            name: encrypted_name.to_owned(),
        })?;
        plain.retain(|(plain, _)| plain != name);
        plain.push((name.into(), OsString::from_vec(value)));
    }
    Ok(plain)
}

fn is_encrypted(name: &OsStr) -> bool {
    let prefix = ENCRYPTED_NAME_PREFIX.as_bytes();
    name.as_encoded_bytes().starts_with(prefix)
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_plain)
        && name
            .bytes()
            .next()
            .is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made with Python's `cryptography`: AES-256-GCM under the bytes 0 to 31, of `it's a secret`
    /// and of an empty text.
    const KEY_TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const SECRET: &str = "enc:v1:AAECAwQFBgcICQoLLnbxaOWE4mjoIuXuxU+ocrVixC28ZVN1NfTsB3A=";
    const EMPTY: &str = "enc:v1:AQIDBAUGBwgJCgsMLeA9rmYwcYMYWe+Lnak19g==";

    type Decrypted = Result<Vec<(OsString, OsString)>, EnvDecryptError>;

    fn decrypted(pairs: &[(&str, &str)]) -> Decrypted {
        let mut decrypted = decrypt_variables(
            pairs
                .iter()
                .map(|(name, value)| (OsString::from(name), OsString::from(value))),
        )?;
        decrypted.sort();
        Ok(decrypted)
    }

    fn sorted(pairs: &[(&str, &str)]) -> Decrypted {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort();
        Ok(pairs)
    }

    #[test]
    fn a_decrypted_variable_replaces_the_encrypted_and_the_plain_one() {
        let given = [
            (KEY_VARIABLE, KEY_TEXT),
            ("KILOCLAW_ENC_TOKEN", SECRET),
            ("KILOCLAW_ENC_NOTHING", EMPTY),
            ("TOKEN", "an old one"),
            ("PATH", "/bin"),
        ];
        let expected = [
            ("TOKEN", "it's a secret"),
            ("NOTHING", ""),
            ("PATH", "/bin"),
        ];
        assert_eq!(decrypted(&given), sorted(&expected));
    }

    #[test]
    fn without_encrypted_variables_the_key_is_not_needed_and_removed() {
        for key in [KEY_TEXT, "no key", ""] {
            let given = [(KEY_VARIABLE, key), ("A", "b")];
            assert_eq!(decrypted(&given), sorted(&[("A", "b")]));
        }
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_refused() {
        let name = OsString::from_vec(b"KILOCLAW_ENC_\xff".to_vec());
        let given = [
            (OsString::from(KEY_VARIABLE), KEY_TEXT.into()),
            (name, OsString::from(SECRET)),
        ];
        assert_eq!(decrypt_variables(given), Err(EnvDecryptError::Name));
    }

    #[test]
    fn one_variable_that_cannot_be_decrypted_refuses_them_all() {
        let value = |value: &str| EnvDecryptError::Value {
            name: format!("KILOCLAW_ENC_{value}"),
        };
        let short = &SECRET[..SECRET.len() - 4];
        for (key, name, sealed, refusal) in [
            ("", "T", SECRET, EnvDecryptError::NoKey),
            ("AAEC", "T", SECRET, EnvDecryptError::NoKey),
            (KEY_TEXT, "1T", SECRET, EnvDecryptError::Name),
            (KEY_TEXT, "", SECRET, EnvDecryptError::Name),
            (KEY_TEXT, "A.B", SECRET, EnvDecryptError::Name),
            (KEY_TEXT, "T", "it's a secret", value("T")),
            (KEY_TEXT, "T", "enc:v1:", value("T")),
            (KEY_TEXT, "T", "enc:v2:AAAA", value("T")),
            (KEY_TEXT, "T", short, value("T")),
        ] {
            let name = format!("KILOCLAW_ENC_{name}");
            let refused = decrypted(&[(KEY_VARIABLE, key), (&name, sealed), ("A", "b")]);
            assert_eq!(refused, Err(refusal));
        }
    }

    #[test]
    fn a_key_has_32_bytes_in_base64() {
        for text in ["", "hunter2", "AAAA"] {
            assert!(EnvKey::from_base64(&text.into()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_is_decrypted_by_the_key_that_encrypted_it_only() {
        let key = |byte: u8| {
            let text = BASE64_STANDARD.encode([byte; 32]);
            EnvKey::from_base64(&text.into()).unwrap()
        };
        let sealed = key(1).encrypt("ü");
        assert_eq!(key(1).decrypt(&sealed).as_deref(), Some("ü".as_bytes()));
        for value in [
            &*key(2).encrypt("ü"),
            "ü",
            "enc:v1:",
            "enc:v1:AAAA",
            "enc:v2:x",
        ] {
            assert_eq!(key(1).decrypt(value), None, "{value}");
        }
    }

    #[test]
    fn a_derived_key_is_that_of_its_secret_and_purpose() {
        let key = |secret: &str, purpose| EnvKey::derived(&secret.into(), purpose);
        let sealed = key("hunter2", "files").encrypt("ü");
        assert_eq!(
            key("hunter2", "files").decrypt(&sealed).as_deref(),
            Some("ü".as_bytes())
        );
        assert_eq!(key("hunter2", "cookies").decrypt(&sealed), None);
        assert_eq!(key("hunter3", "files").decrypt(&sealed), None);
    }

    #[test]
    fn a_controller_decrypts_what_a_platform_encrypted() {
        let key = EnvKey::from_base64(&KEY_TEXT.into()).unwrap();
        let given = [
            (KEY_VARIABLE, KEY_TEXT),
            ("KILOCLAW_ENC_TARBALL", &key.encrypt("dGFy")),
        ];
        assert_eq!(decrypted(&given), sorted(&[("TARBALL", "dGFy")]));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(name in "[A-Z0-9_.]{0,8}", value: String, at in 0..80_usize) {
            let _ = decrypted(&[(KEY_VARIABLE, KEY_TEXT), (&format!("KILOCLAW_ENC_{name}"), &value)]);
            let mut changed = SECRET.as_bytes().to_vec();
            let at = at % changed.len();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            prop_assert!(decrypted(&[(KEY_VARIABLE, KEY_TEXT), ("KILOCLAW_ENC_T", &changed)]).is_err());
        }
    }
}
