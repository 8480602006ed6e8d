//! Variables that the platform has encrypted (`KILOCLAW_ENC_…`), as KiloClaw does: AES-256-GCM, the
//! text of the value being `enc:v1:` and base64 of a 12-byte nonce, the ciphertext and a 16-byte
//! tag; the key is in `KILOCLAW_ENV_KEY`, as base64
//! (<https://github.com/Kilo-Org/cloud>, `kiloclaw/controller/src/bootstrap.ts`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::Variables;

/// What the name of an encrypted variable begins with.
const NAME_PREFIX: &str = "KILOCLAW_ENC_";

/// What an encrypted value begins with.
const VALUE_PREFIX: &str = "enc:v1:";

/// The variable with the key.
const KEY: &str = "KILOCLAW_ENV_KEY";

/// Why an encrypted variable cannot be used. Nothing is started then: what it was to set is
/// missing, or is not what the platform meant.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    /// There is no key, or what is there is none.
    #[error("{KEY}: expected base64 of 32 bytes, for there are encrypted variables")]
    NoKey,

    /// The name of a variable is none.
    #[error("{NAME_PREFIX}…: expected the name of a variable after it, of A-Z a-z 0-9 and _")]
    Name,

    /// The value of a variable is none of ours, or was encrypted with another key.
    #[error("{name}: expected {VALUE_PREFIX} and what was encrypted with {KEY}")]
    Value {
        /// The variable.
        name: String,
    },
}

/// Puts decrypted variables in the place of encrypted ones, and takes the key away: no child needs
/// either.
///
/// # Errors
///
/// [`SealError`] where only one of them cannot be decrypted.
pub fn unseal(mut variables: Variables) -> Result<Variables, SealError> {
    let is_sealed = |name: &OsStr| name.as_encoded_bytes().starts_with(NAME_PREFIX.as_bytes());
    let sealed = variables.iter().filter(|(name, _)| is_sealed(name));
    let sealed: Vec<_> = sealed
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let key = variables.remove(KEY);
    if sealed.is_empty() {
        return Ok(variables);
    }
    let key = key.and_then(read_key).ok_or(SealError::NoKey)?;
    for (sealed_name, value) in sealed {
        let sealed_name = sealed_name.to_str().ok_or(SealError::Name)?;
        let name = sealed_name.strip_prefix(NAME_PREFIX);
        let name = name.filter(|name| is_name(name)).ok_or(SealError::Name)?;
        let value = value.to_str().and_then(|value| open(&key, value));
        let value = value.ok_or_else(|| SealError::Value {
            name: sealed_name.to_owned(),
        })?;
        variables.remove(sealed_name);
        variables.set(name, value);
    }
    Ok(variables)
}

fn read_key(text: OsString) -> Option<LessSafeKey> {
    let text = text.into_string().ok()?;
    let bytes = BASE64_STANDARD.decode(text.trim()).ok()?;
    UnboundKey::new(&AES_256_GCM, &bytes)
        .ok()
        .map(LessSafeKey::new)
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_plain)
        && name
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}

fn open(key: &LessSafeKey, value: &str) -> Option<OsString> {
    let sealed = BASE64_STANDARD
        .decode(value.strip_prefix(VALUE_PREFIX)?)
        .ok()?;
    let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut content = sealed.to_vec();
    let length = key
        .open_in_place(nonce, Aad::empty(), &mut content)
        .ok()?
        .len();
    content.truncate(length);
    // No variable can hold it.
    (!content.contains(&0)).then(|| OsString::from_vec(content))
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

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().copied().collect()
    }

    #[test]
    fn what_the_platform_encrypted_takes_the_place_of_what_is_encrypted() {
        let given = variables(&[
            (KEY, KEY_TEXT),
            ("KILOCLAW_ENC_TOKEN", SECRET),
            ("KILOCLAW_ENC_NOTHING", EMPTY),
            ("TOKEN", "an old one"),
            ("PATH", "/bin"),
        ]);
        let expected = [
            ("TOKEN", "it's a secret"),
            ("NOTHING", ""),
            ("PATH", "/bin"),
        ];
        assert_eq!(unseal(given), Ok(variables(&expected)));
    }

    #[test]
    fn without_encrypted_variables_the_key_is_not_needed_and_not_kept() {
        for key in [KEY_TEXT, "no key", ""] {
            let given = variables(&[(KEY, key), ("A", "b")]);
            assert_eq!(unseal(given), Ok(variables(&[("A", "b")])));
        }
    }

    #[test]
    fn a_name_that_is_no_text_is_refused_like_any_other() {
        let name = OsString::from_vec(b"KILOCLAW_ENC_\xff".to_vec());
        let given = [
            (OsString::from(KEY), KEY_TEXT.into()),
            (name, OsString::from(SECRET)),
        ];
        assert_eq!(unseal(given.into_iter().collect()), Err(SealError::Name));
    }

    #[test]
    fn one_that_cannot_be_decrypted_refuses_them_all() {
        let value = |value: &str| SealError::Value {
            name: format!("KILOCLAW_ENC_{value}"),
        };
        let short = &SECRET[..SECRET.len() - 4];
        for (key, name, sealed, refusal) in [
            ("", "T", SECRET, SealError::NoKey),
            ("AAEC", "T", SECRET, SealError::NoKey),
            (KEY_TEXT, "1T", SECRET, SealError::Name),
            (KEY_TEXT, "", SECRET, SealError::Name),
            (KEY_TEXT, "A.B", SECRET, SealError::Name),
            (KEY_TEXT, "T", "it's a secret", value("T")),
            (KEY_TEXT, "T", "enc:v1:", value("T")),
            (KEY_TEXT, "T", "enc:v2:AAAA", value("T")),
            (KEY_TEXT, "T", short, value("T")),
        ] {
            let name = format!("KILOCLAW_ENC_{name}");
            let refused = unseal(variables(&[(KEY, key), (&name, sealed), ("A", "b")]));
            assert_eq!(refused, Err(refusal));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(name in "[A-Z0-9_.]{0,8}", value: String, at in 0..80_usize) {
            let given = [(KEY.to_owned(), KEY_TEXT.to_owned()), (format!("KILOCLAW_ENC_{name}"), value)];
            let _ = unseal(given.into_iter().collect());
            let mut changed = SECRET.as_bytes().to_vec();
            let at = at % changed.len();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            prop_assert!(unseal(variables(&[(KEY, KEY_TEXT), ("KILOCLAW_ENC_T", &changed)])).is_err());
        }
    }
}
