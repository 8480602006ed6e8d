//! The platform's private key, which decrypts credential envelopes.

use std::fmt;

use aes_gcm::aead::array::Array;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use pem::{EncodeConfig, LineEnding, Pem};
use secrecy::{ExposeSecret, SecretString};

use super::{AesGcm16, Contents, CredentialEnvelope, IV_BYTES, TAG_BYTES};

/// The first bytes of a tar.gz that is not in base64 (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The platform's private key: anyone can encrypt for it with the public half.
pub struct PlatformKey {
    private: OaepPrivateDecryptingKey,
    public_pem: String,
}

/// The text is not a private key that the platform can use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected an RSA key of 2048 to 8192 bits in PEM, such as `postbell config init` writes")]
pub struct InvalidPrivateKey;

/// The system provides no random bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot generate an RSA key")]
pub struct NotGenerated;

/// The credentials cannot be decrypted. The text contains nothing of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecryptError {
    /// The stored text is not an envelope.
    #[error("the credentials are not an envelope")]
    NotAnEnvelope,

    /// The envelope is damaged or was encrypted for another key.
    #[error("the envelope does not open with the platform's key")]
    WrongKey,

    /// The content is neither a tar.gz nor text.
    #[error("the credentials are not text")]
    NotText,
}

impl PlatformKey {
    /// Generates a key of 3072 bits and returns it as PKCS#8 in PEM.
    ///
    /// # Errors
    ///
    /// [`NotGenerated`]
    pub fn generate() -> Result<SecretString, NotGenerated> {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa3072).map_err(|_| NotGenerated)?;
        let private: Pkcs8V1Der<'_> = private.as_der().map_err(|_| NotGenerated)?;
        Ok(in_pem("PRIVATE KEY", private.as_ref()).into())
    }

    /// Reads a key from a PEM file's text, PKCS#8 or PKCS#1.
    ///
    /// # Errors
    ///
    /// [`InvalidPrivateKey`] if it contains no such key.
    pub fn from_pem(text: &SecretString) -> Result<Self, InvalidPrivateKey> {
        let pem = pem::parse(text.expose_secret()).map_err(|_| InvalidPrivateKey)?;
        let private = match pem.tag() {
            "PRIVATE KEY" => PrivateDecryptingKey::from_pkcs8(pem.contents()),
            // PKCS#1, as older programs write it.
            "RSA PRIVATE KEY" => {
                let pair = KeyPair::from_der(pem.contents()).map_err(|_| InvalidPrivateKey)?;
                let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| InvalidPrivateKey)?;
                PrivateDecryptingKey::from_pkcs8(pkcs8.as_ref())
            }
            _ => return Err(InvalidPrivateKey),
        };
        let private = private.map_err(|_| InvalidPrivateKey)?;
        let public = private
            .public_key()
            .as_der()
            .map_err(|_| InvalidPrivateKey)?;
        Ok(Self {
            private: OaepPrivateDecryptingKey::new(private).map_err(|_| InvalidPrivateKey)?,
            public_pem: in_pem("PUBLIC KEY", public.as_ref()),
        })
    }

    /// The public half, as SPKI PEM.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Decrypts an envelope, given as JSON, that contains a credentials tarball. Returns the tarball
    /// as base64.
    ///
    /// # Errors
    ///
    /// [`DecryptError`]
    pub fn decrypt_tarball(&self, envelope: &str) -> Result<SecretString, DecryptError> {
        let envelope: CredentialEnvelope =
            serde_json::from_str(envelope).map_err(|_| DecryptError::NotAnEnvelope)?;
        self.tarball(&envelope)
    }

    /// Checks that an envelope can be decrypted and contains text or a tar.gz.
    ///
    /// # Errors
    ///
    /// [`DecryptError`]
    pub fn check_tarball(&self, envelope: &CredentialEnvelope) -> Result<(), DecryptError> {
        self.tarball(envelope).map(drop)
    }

    fn tarball(&self, envelope: &CredentialEnvelope) -> Result<SecretString, DecryptError> {
        let content = self.decrypt(envelope)?;
        let text = if content.starts_with(&GZIP) {
            BASE64_STANDARD.encode(content)
        } else {
            String::from_utf8(content).map_err(|_| DecryptError::NotText)?
        };
        Ok(text.into())
    }

    /// Decrypts an envelope.
    ///
    /// # Errors
    ///
    /// [`DecryptError::WrongKey`]
    pub fn decrypt(&self, envelope: &CredentialEnvelope) -> Result<Vec<u8>, DecryptError> {
        self.decrypt_contents(envelope)
            .ok_or(DecryptError::WrongKey)
    }

    fn decrypt_contents(&self, envelope: &CredentialEnvelope) -> Option<Vec<u8>> {
        let Contents { data, dek } = envelope.contents().ok()?;
        let mut key = vec![0; self.private.min_output_size()];
        let key = self
            .private
            .decrypt(&OAEP_SHA256_MGF1SHA256, &dek, &mut key, None)
            .ok()?;
        let cipher = AesGcm16::new_from_slice(key).ok()?;
        let (iv, rest) = data.split_at_checked(IV_BYTES)?;
        let (text, tag) = rest.split_at(rest.len().checked_sub(TAG_BYTES)?);
        let iv = Array::try_from(iv).ok()?;
        let tag = Array::try_from(tag).ok()?;
        let mut text = text.to_vec();
        cipher
            .decrypt_inout_detached(&iv, &[], text.as_mut_slice().into(), &tag)
            .ok()?;
        Some(text)
    }
}

fn in_pem(tag: &str, der: &[u8]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new(tag, der), config)
}

impl fmt::Debug for PlatformKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlatformKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key for tests only, and an envelope that Node's `crypto` made for it: see
    /// `fixtures/envelope.mjs`.
    const KEY: &str = include_str!("../../fixtures/key.pem");
    const ENVELOPE: &str = include_str!("../../fixtures/envelope.json");

    fn key() -> PlatformKey {
        PlatformKey::from_pem(&KEY.into()).unwrap()
    }

    #[test]
    fn an_envelope_made_by_node_is_decrypted() {
        let envelope: CredentialEnvelope = serde_json::from_str(ENVELOPE).unwrap();
        assert_eq!(key().decrypt(&envelope), Ok(b"H4sIAAAA".to_vec()));
    }

    #[test]
    fn a_key_is_the_same_in_pkcs8_and_in_pkcs1() {
        // PKCS#8 is a version, an algorithm, and PKCS#1 in an octet string (RFC 5208): 26 bytes
        // before it where the key has 2048 bits.
        let pkcs8 = pem::parse(KEY).unwrap();
        let pkcs1 = Pem::new("RSA PRIVATE KEY", &pkcs8.contents()[26..]);
        let again = PlatformKey::from_pem(&pem::encode(&pkcs1).into()).unwrap();
        assert_eq!(again.public_pem(), key().public_pem());
        let envelope: CredentialEnvelope = serde_json::from_str(ENVELOPE).unwrap();
        assert!(again.decrypt(&envelope).is_ok());
    }

    #[test]
    fn a_generated_key_decrypts_what_was_encrypted_for_it() {
        let text = PlatformKey::generate().unwrap();
        let key = PlatformKey::from_pem(&text).unwrap();
        let envelope = CredentialEnvelope::encrypt(b"dGFy", key.public_pem(), &|_| ()).unwrap();
        assert_eq!(key.decrypt(&envelope), Ok(b"dGFy".to_vec()));
    }

    #[test]
    fn a_changed_envelope_is_refused() {
        for field in ["encryptedData", "encryptedDEK"] {
            let mut envelope: serde_json::Value = serde_json::from_str(ENVELOPE).unwrap();
            let text = envelope[field].as_str().unwrap();
            let first = if text.starts_with('A') { "B" } else { "A" };
            envelope[field] = format!("{first}{}", &text[1..]).into();
            let envelope: CredentialEnvelope = serde_json::from_value(envelope).unwrap();
            assert_eq!(
                key().decrypt(&envelope),
                Err(DecryptError::WrongKey),
                "{field}"
            );
        }
    }

    #[test]
    fn a_text_that_is_not_a_key_is_refused_without_being_repeated() {
        let public = key().public_pem().to_owned();
        assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n"));
        let mislabelled = KEY.replace("PRIVATE", "RSA PRIVATE");
        for text in ["", "hunter2", &public, &mislabelled, &KEY[..200]] {
            let refused = PlatformKey::from_pem(&text.into()).err();
            assert_eq!(refused, Some(InvalidPrivateKey));
        }
    }

    #[test]
    fn a_sealed_envelope_is_decrypted_and_differs_each_time() {
        let fill = |byte: u8| move |bytes: &mut [u8]| bytes.fill(byte);
        let public = key().public_pem().to_owned();
        let first = CredentialEnvelope::encrypt(b"dGFy", &public, &fill(1)).unwrap();
        let second = CredentialEnvelope::encrypt(b"dGFy", &public, &fill(2)).unwrap();
        let json = serde_json::to_value(&first).unwrap();
        assert_ne!(json, serde_json::to_value(&second).unwrap());
        assert_eq!(json["algorithm"], "rsa-aes-256-gcm");
        assert_eq!(json["version"], 1);
        let read: CredentialEnvelope = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(key().decrypt(&read), Ok(b"dGFy".to_vec()));
        let tarball = key().decrypt_tarball(&json.to_string()).unwrap();
        assert_eq!(tarball.expose_secret(), "dGFy");
    }

    #[test]
    fn a_tarball_is_returned_in_base64_even_if_it_was_encrypted_as_bytes() {
        let bytes = [0x1f, 0x8b, 8, 0];
        let envelope = CredentialEnvelope::encrypt(&bytes, key().public_pem(), &|_| ()).unwrap();
        let envelope = serde_json::to_string(&envelope).unwrap();
        let tarball = key().decrypt_tarball(&envelope).unwrap();
        assert_eq!(tarball.expose_secret(), "H4sIAA==");
        let not_text = CredentialEnvelope::encrypt(&[0xff], key().public_pem(), &|_| ()).unwrap();
        let not_text = serde_json::to_string(&not_text).unwrap();
        let refused = key().decrypt_tarball(&not_text).unwrap_err();
        assert_eq!(refused, DecryptError::NotText);
        let refused = key().decrypt_tarball("{}").unwrap_err();
        assert_eq!(refused, DecryptError::NotAnEnvelope);
    }
}
