//! Writes an item of the keyring as `gog` does.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::key_wrap::{AES_128, AesKek, KeyWrap};
use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{ALGORITHM, DEFAULT_CLIENT, ENCRYPTION};

/// The iteration count of the library that `gog` uses
/// (<https://github.com/dvsekhvalnov/jose2go>).
const ITERATIONS: u32 = 8192;

/// A refresh token as an item of `gog`'s keyring.
pub struct KeyringItem {
    /// The name of its file in the keyring's folder.
    pub file_name: String,
    /// A compact JWE, encrypted under the keyring's password.
    pub content: String,
}

impl KeyringItem {
    /// Encrypts the refresh token of `account` under the keyring's password. `random` must fill its
    /// argument from a cryptographically secure source. Returns `None` if AWS-LC fails, which has
    /// not been seen.
    #[must_use]
    pub fn encrypt(
        account: &str,
        refresh_token: &SecretString,
        password: &str,
        random: &dyn Fn(&mut [u8]),
    ) -> Option<Self> {
        let file_name = format!("token:{DEFAULT_CLIENT}:{}", account.trim().to_lowercase());
        let token = json!({ "refresh_token": refresh_token.expose_secret() }).to_string();
        let item = json!({ "Key": file_name, "Data": BASE64_STANDARD.encode(token) });
        let content = encrypt(item.to_string().as_bytes(), password.as_bytes(), random).ok()?;
        Some(Self { file_name, content })
    }
}

/// Encrypts with a password, as a compact JWE (RFC 7516, section 7.1; RFC 7518, sections 4.8 and 5.3).
fn encrypt(
    content: &[u8],
    password: &[u8],
    random: &dyn Fn(&mut [u8]),
) -> Result<String, Unspecified> {
    let (mut salt, mut nonce, mut key) = ([0; 12], [0; 12], [0; 32]);
    for bytes in [&mut salt[..], &mut nonce, &mut key] {
        random(bytes);
    }
    let header = json!({
        "alg": ALGORITHM,
        "enc": ENCRYPTION,
        "p2c": ITERATIONS,
        "p2s": BASE64_URL_SAFE_NO_PAD.encode(salt),
    });
    let header = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
    let salt = [ALGORITHM.as_bytes(), &[0], &salt].concat();
    let iterations = ITERATIONS.try_into().map_err(|_| Unspecified)?;
    let mut kek = [0; 16];
    derive(PBKDF2_HMAC_SHA256, iterations, &salt, password, &mut kek);
    let mut wrapped = [0; 40];
    AesKek::new(&AES_128, &kek)?.wrap(&key, &mut wrapped)?;
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key)?);
    let mut sealed = content.to_vec();
    let tag = cipher.seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(header.as_bytes()),
        &mut sealed,
    )?;
    let parts = [&wrapped[..], &nonce, &sealed, tag.as_ref()];
    let parts = parts.map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    Ok(format!("{header}.{}", parts.join(".")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{DecryptError, GogKeyring, decrypt};
    use super::*;

    #[test]
    fn a_written_item_is_read_with_its_password_only() {
        let random = |bytes: &mut [u8]| bytes.fill(3);
        let token =
            KeyringItem::encrypt("Ann@Example.com", &"1//t".into(), "kiloclaw", &random).unwrap();
        assert_eq!(token.file_name, "token:default:ann@example.com");
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(&token.file_name), &token.content).unwrap();
        let client = r#"{"client_id":"id","client_secret":"secret"}"#;
        fs::write(folder.path().join("credentials.json"), client).unwrap();
        let keyring = GogKeyring {
            keyring: folder.path().to_owned(),
            clients: vec![folder.path().to_owned()],
        };
        let user = keyring.credentials("ann@example.com", "default", "kiloclaw");
        assert_eq!(user.unwrap().refresh_token.expose_secret(), "1//t");
        let wrong = decrypt(token.content.as_bytes(), b"other");
        assert_eq!(wrong, Err(DecryptError::WrongPassword));
    }
}
