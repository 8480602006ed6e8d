//! The platform's own key, which opens the envelopes.

use std::fmt;

use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{AesGcm, aes::Aes256};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use pem::{EncodeConfig, LineEnding, Pem};
use postbell_core::{BoxError, StoredCredentials};
use secrecy::{ExposeSecret, SecretString};

use super::{Contents, Envelope};

/// AES-256-GCM with a vector of 16 bytes: Node's `crypto`, which wrote the first of these envelopes,
/// takes one of any length.
///
/// AWS-LC's own, through aws-lc-rs, takes 12 and nothing else, so this one format is opened by the
/// RustCrypto project's. It is used to decrypt alone, on keys that are good for one message.
type AesGcm16 = AesGcm<Aes256, U16>;

/// The vector before the ciphertext, and the tag after it.
const IV_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// What a tar.gz begins with, where it is not in base64 (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The platform's own key: everybody can encrypt for it, and it alone can open that.
pub struct PlatformKey {
    private: OaepPrivateDecryptingKey,
    public_pem: String,
}

/// A text that is no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "expected an RSA key of 2048 to 8192 bits in PEM, such as `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072` makes"
)]
pub struct InvalidKey;

/// An envelope that does not open: it is for another key, or damaged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the envelope does not open with the platform's key")]
pub(crate) struct DoesNotOpen;

impl PlatformKey {
    /// The key that a PEM file holds.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] where it holds none.
    pub fn from_pem(text: &SecretString) -> Result<Self, InvalidKey> {
        let pem = pem::parse(text.expose_secret()).map_err(|_| InvalidKey)?;
        let private = match pem.tag() {
            "PRIVATE KEY" => PrivateDecryptingKey::from_pkcs8(pem.contents()),
            // PKCS#1, as older programs write it.
            "RSA PRIVATE KEY" => {
                let pair = KeyPair::from_der(pem.contents()).map_err(|_| InvalidKey)?;
                let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| InvalidKey)?;
                PrivateDecryptingKey::from_pkcs8(pkcs8.as_ref())
            }
            _ => return Err(InvalidKey),
        };
        let private = private.map_err(|_| InvalidKey)?;
        let public = private.public_key().as_der().map_err(|_| InvalidKey)?;
        let public = Pem::new("PUBLIC KEY", public.as_ref());
        let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
        Ok(Self {
            private: OaepPrivateDecryptingKey::new(private).map_err(|_| InvalidKey)?,
            public_pem: pem::encode_config(&public, config),
        })
    }

    /// The public half, as SPKI PEM.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Opens what a user's setup tool has sent: base64 of a tar.gz, `gog`'s configuration.
    ///
    /// # Errors
    ///
    /// Where it is for another key, or something else.
    pub fn open_credentials(
        &self,
        credentials: &StoredCredentials,
    ) -> Result<SecretString, BoxError> {
        let envelope: Envelope = serde_json::from_str(credentials.expose())?;
        let content = self.open(&envelope)?;
        let text = if content.starts_with(&GZIP) {
            BASE64_STANDARD.encode(content)
        } else {
            String::from_utf8(content).map_err(|_| "the credentials are no text")?
        };
        Ok(text.into())
    }

    /// Returns what is in an envelope.
    pub(crate) fn open(&self, envelope: &Envelope) -> Result<Vec<u8>, DoesNotOpen> {
        let Contents { data, dek } = envelope.contents().map_err(|_| DoesNotOpen)?;
        let mut key = vec![0; self.private.min_output_size()];
        let key = self
            .private
            .decrypt(&OAEP_SHA256_MGF1SHA256, &dek, &mut key, None)
            .map_err(|_| DoesNotOpen)?;
        let cipher = AesGcm16::new_from_slice(key).map_err(|_| DoesNotOpen)?;
        let (iv, rest) = data.split_at_checked(IV_BYTES).ok_or(DoesNotOpen)?;
        let text_bytes = rest.len().checked_sub(TAG_BYTES).ok_or(DoesNotOpen)?;
        let (text, tag) = rest.split_at(text_bytes);
        let iv = Array::try_from(iv).map_err(|_| DoesNotOpen)?;
        let tag = Array::try_from(tag).map_err(|_| DoesNotOpen)?;
        let mut text = text.to_vec();
        cipher
            .decrypt_inout_detached(&iv, &[], text.as_mut_slice().into(), &tag)
            .map_err(|_| DoesNotOpen)?;
        Ok(text)
    }
}

impl fmt::Debug for PlatformKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlatformKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that is good for nothing else, and an envelope that Node's `crypto` made for it: see
    /// `fixtures/envelope.mjs`.
    const KEY: &str = include_str!("../../fixtures/key.pem");
    const ENVELOPE: &str = include_str!("../../fixtures/envelope.json");

    fn key() -> PlatformKey {
        PlatformKey::from_pem(&KEY.into()).unwrap()
    }

    #[test]
    fn what_node_has_sealed_is_opened() {
        let envelope: Envelope = serde_json::from_str(ENVELOPE).unwrap();
        assert_eq!(key().open(&envelope), Ok(b"H4sIAAAA".to_vec()));
    }

    #[test]
    fn a_key_is_the_same_in_pkcs8_and_in_pkcs1() {
        // PKCS#8 is a version, an algorithm, and PKCS#1 in an octet string (RFC 5208): 26 bytes
        // before it where the key has 2048 bits.
        let pkcs8 = pem::parse(KEY).unwrap();
        let pkcs1 = Pem::new("RSA PRIVATE KEY", &pkcs8.contents()[26..]);
        let again = PlatformKey::from_pem(&pem::encode(&pkcs1).into()).unwrap();
        assert_eq!(again.public_pem(), key().public_pem());
        let envelope: Envelope = serde_json::from_str(ENVELOPE).unwrap();
        assert!(again.open(&envelope).is_ok());
    }

    #[test]
    fn what_was_changed_does_not_open() {
        for field in ["encryptedData", "encryptedDEK"] {
            let mut envelope: serde_json::Value = serde_json::from_str(ENVELOPE).unwrap();
            let text = envelope[field].as_str().unwrap();
            let first = if text.starts_with('A') { "B" } else { "A" };
            envelope[field] = format!("{first}{}", &text[1..]).into();
            let envelope: Envelope = serde_json::from_value(envelope).unwrap();
            assert_eq!(key().open(&envelope), Err(DoesNotOpen), "{field}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_repeated() {
        let public = key().public_pem().to_owned();
        assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n"));
        let mislabelled = KEY.replace("PRIVATE", "RSA PRIVATE");
        for text in ["", "hunter2", &public, &mislabelled, &KEY[..200]] {
            let refused = PlatformKey::from_pem(&text.into()).err();
            assert_eq!(refused, Some(InvalidKey));
        }
    }
}
