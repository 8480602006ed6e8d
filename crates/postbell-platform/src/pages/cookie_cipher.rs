//! Encrypts the values that browsers keep for the pages.

use std::fmt;

use aws_lc_rs::aead::{
    AES_256_GCM, AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, RandomizedNonceKey,
    UnboundKey,
};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest text that is decrypted: browsers keep cookies of 4 KiB.
const MAX_TEXT: usize = 4096;

/// Encrypts values for cookies and links, each bound to a purpose.
pub struct CookieCipher {
    cookies: RandomizedNonceKey,
    /// Deterministic (RFC 8452): equal values have equal ciphertexts, and nothing else is visible.
    links: LessSafeKey,
}

impl CookieCipher {
    /// Derives the keys from `secret`, which may have other uses.
    #[must_use]
    pub fn new(secret: &SecretString) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let cookies = hmac::sign(&secret, b"postbell pages");
        let links = hmac::sign(&secret, b"postbell links of pages");
        #[expect(
            clippy::expect_used,
            reason = "a tag of SHA-256 has the 32 bytes of a key"
        )]
        let (cookies, links) = (
            RandomizedNonceKey::new(&AES_256_GCM, cookies.as_ref()).expect("a key's length"),
            UnboundKey::new(&AES_256_GCM_SIV, links.as_ref()).expect("a key's length"),
        );
        let links = LessSafeKey::new(links);
        Self { cookies, links }
    }

    /// Encrypts a value for a cookie.
    pub(super) fn encrypt(&self, purpose: &str, value: &impl Serialize) -> String {
        let mut text = serde_json::to_vec(value).unwrap_or_default();
        let aad = Aad::from(purpose.as_bytes());
        match self.cookies.seal_in_place_append_tag(aad, &mut text) {
            Ok(nonce) => BASE64_URL_SAFE_NO_PAD.encode([nonce.as_ref(), &text[..]].concat()),
            // An empty text never decrypts, so the browser is signed out.
            Err(_) => String::new(),
        }
    }

    /// Decrypts a cookie's value. `None` unless it was encrypted for this purpose.
    pub(super) fn decrypt<T: DeserializeOwned>(&self, purpose: &str, text: &str) -> Option<T> {
        let bytes = decode(text)?;
        let (nonce, encrypted) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut encrypted = encrypted.to_vec();
        let aad = Aad::from(purpose.as_bytes());
        let value = self
            .cookies
            .open_in_place(nonce, aad, &mut encrypted)
            .ok()?;
        serde_json::from_slice(value).ok()
    }

    /// Encrypts a value for a link. Equal values give equal texts, so that an unchanged page renders
    /// the same.
    pub(super) fn encrypt_link(&self, purpose: &str, value: &impl Serialize) -> String {
        let mut text = serde_json::to_vec(value).unwrap_or_default();
        let aad = Aad::from(purpose.as_bytes());
        match self
            .links
            .seal_in_place_append_tag(fixed_nonce(), aad, &mut text)
        {
            Ok(()) => BASE64_URL_SAFE_NO_PAD.encode(text),
            Err(_) => String::new(),
        }
    }

    /// Decrypts a link's value. `None` unless it was encrypted for this purpose.
    pub(super) fn decrypt_link<T: DeserializeOwned>(&self, purpose: &str, text: &str) -> Option<T> {
        let mut encrypted = decode(text)?;
        let aad = Aad::from(purpose.as_bytes());
        let value = self.links.open_in_place(fixed_nonce(), aad, &mut encrypted);
        serde_json::from_slice(value.ok()?).ok()
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_TEXT {
        return None;
    }
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

/// AES-GCM-SIV allows the reuse of a nonce (RFC 8452, section 1).
fn fixed_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

impl fmt::Debug for CookieCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieCipher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_decrypts_only_for_its_purpose() {
        let cipher = CookieCipher::new(&"secret".into());
        let encrypted = cipher.encrypt("session", &"ann");
        assert_eq!(
            cipher.decrypt("session", &encrypted),
            Some("ann".to_owned())
        );
        assert_eq!(cipher.decrypt::<String>("toast", &encrypted), None);
        let other = CookieCipher::new(&"other".into());
        assert_eq!(other.decrypt::<String>("session", &encrypted), None);
        assert_ne!(cipher.encrypt("session", &"ann"), encrypted);
    }

    #[test]
    fn a_link_is_deterministic_and_decrypts_only_for_its_purpose() {
        let cipher = CookieCipher::new(&"secret".into());
        let link = cipher.encrypt_link("list", &"ann");
        assert_eq!(cipher.encrypt_link("list", &"ann"), link);
        assert_eq!(cipher.decrypt_link("list", &link), Some("ann".to_owned()));
        assert_eq!(cipher.decrypt_link::<String>("session", &link), None);
        assert_eq!(cipher.decrypt::<String>("list", &link), None);
        let changed = link.replace(&link[..2], "AA");
        for text in ["", "A", "!", &changed, &"A".repeat(MAX_TEXT + 1)] {
            assert_eq!(cipher.decrypt_link::<String>("list", text), None);
        }
    }

    #[test]
    fn a_changed_or_foreign_text_does_not_decrypt() {
        let cipher = CookieCipher::new(&"secret".into());
        let encrypted = cipher.encrypt("session", &"ann");
        for index in 0..encrypted.len() {
            let mut changed = encrypted.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last digit may hold the same value in other bits, which are refused.
            let decrypted = cipher.decrypt::<String>("session", &changed);
            assert_eq!(decrypted, None, "{index}");
        }
        for text in ["", "A", "!", &"A".repeat(16), &"A".repeat(MAX_TEXT + 1)] {
            assert_eq!(cipher.decrypt::<String>("session", text), None);
        }
    }
}
