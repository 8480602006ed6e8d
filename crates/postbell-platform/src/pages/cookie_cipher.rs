//! What a browser keeps for us: encrypted, and of no use for anything else.

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

/// The longest text that is opened: a browser keeps cookies of 4 KiB.
const LONGEST: usize = 4096;

/// Encrypts what a browser keeps for us, and opens what it brings back.
pub struct CookieCipher {
    key: RandomizedNonceKey,
    /// The same of the same (RFC 8452): of a value it shows that it is the same as another, and
    /// nothing else.
    same: LessSafeKey,
}

impl CookieCipher {
    /// With a key made of `secret` for this purpose alone: it may be the secret of other things.
    #[must_use]
    pub fn new(secret: &SecretString) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let key = |purpose: &[u8]| hmac::sign(&secret, purpose);
        let of_pages = key(b"postbell pages");
        let of_links = key(b"postbell links of pages");
        #[expect(
            clippy::expect_used,
            reason = "a tag of SHA-256 has the 32 bytes of a key"
        )]
        let (key, same) = (
            RandomizedNonceKey::new(&AES_256_GCM, of_pages.as_ref()).expect("a key's length"),
            UnboundKey::new(&AES_256_GCM_SIV, of_links.as_ref()).expect("a key's length"),
        );
        let same = LessSafeKey::new(same);
        Self { key, same }
    }

    /// Encrypts a value, which can only be opened for the same purpose.
    pub(super) fn seal(&self, purpose: &str, value: &impl Serialize) -> String {
        let mut sealed = serde_json::to_vec(value).unwrap_or_default();
        let purpose = Aad::from(purpose.as_bytes());
        match self.key.seal_in_place_append_tag(purpose, &mut sealed) {
            Ok(nonce) => BASE64_URL_SAFE_NO_PAD.encode([nonce.as_ref(), &sealed[..]].concat()),
            // Nothing is opened of it then: whoever brings it is nobody.
            Err(_) => String::new(),
        }
    }

    /// Encrypts a value for a link: each time to the same text, so that a page that has not changed
    /// comes out the same.
    pub(super) fn seal_link(&self, purpose: &str, value: &impl Serialize) -> String {
        let mut sealed = serde_json::to_vec(value).unwrap_or_default();
        let purpose = Aad::from(purpose.as_bytes());
        let done = self
            .same
            .seal_in_place_append_tag(no_nonce(), purpose, &mut sealed);
        match done {
            Ok(()) => BASE64_URL_SAFE_NO_PAD.encode(sealed),
            Err(_) => String::new(),
        }
    }

    /// Opens what was sealed for a link of this purpose, and nothing else.
    pub(super) fn open_link<T: DeserializeOwned>(&self, purpose: &str, text: &str) -> Option<T> {
        if text.len() > LONGEST {
            return None;
        }
        let mut sealed = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let purpose = Aad::from(purpose.as_bytes());
        let opened = self.same.open_in_place(no_nonce(), purpose, &mut sealed);
        serde_json::from_slice(opened.ok()?).ok()
    }

    /// Opens what was sealed for this purpose, and nothing else.
    pub(super) fn open<T: DeserializeOwned>(&self, purpose: &str, text: &str) -> Option<T> {
        if text.len() > LONGEST {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let purpose = Aad::from(purpose.as_bytes());
        let opened = self.key.open_in_place(nonce, purpose, &mut sealed).ok()?;
        serde_json::from_slice(opened).ok()
    }
}

/// With this cipher a nonce may be used again (RFC 8452, section 1).
fn no_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

impl fmt::Debug for CookieCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_opened_for_the_same_purpose_alone() {
        let seal = CookieCipher::new(&"secret".into());
        let sealed = seal.seal("session", &"ann");
        assert_eq!(seal.open("session", &sealed), Some("ann".to_owned()));
        assert_eq!(seal.open::<String>("toast", &sealed), None);
        let other = CookieCipher::new(&"other".into());
        assert_eq!(other.open::<String>("session", &sealed), None);
        assert_ne!(seal.seal("session", &"ann"), sealed);
    }

    #[test]
    fn a_link_is_the_same_each_time_and_opened_for_its_purpose_alone() {
        let seal = CookieCipher::new(&"secret".into());
        let link = seal.seal_link("list", &"ann");
        assert_eq!(seal.seal_link("list", &"ann"), link);
        assert_eq!(seal.open_link("list", &link), Some("ann".to_owned()));
        assert_eq!(seal.open_link::<String>("session", &link), None);
        assert_eq!(seal.open::<String>("list", &link), None);
        let changed = link.replace(&link[..2], "AA");
        for text in ["", "A", "!", &changed, &"A".repeat(LONGEST + 1)] {
            assert_eq!(seal.open_link::<String>("list", text), None);
        }
    }

    #[test]
    fn what_was_changed_or_is_no_seal_of_ours_is_nothing() {
        let seal = CookieCipher::new(&"secret".into());
        let sealed = seal.seal("session", &"ann");
        for place in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last digit may say the same in other bits, which are refused then.
            let opened = seal.open::<String>("session", &changed);
            assert_eq!(opened, None, "{place}");
        }
        for text in ["", "A", "!", &"A".repeat(16), &"A".repeat(LONGEST + 1)] {
            assert_eq!(seal.open::<String>("session", text), None);
        }
    }
}
