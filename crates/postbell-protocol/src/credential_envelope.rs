//! The credential envelope (protocol, section 2): Google credentials that a setup tool encrypts for
//! the platform.

mod platform_key;

use std::fmt;

use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{AesGcm, aes::Aes256};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::platform_key::{DecryptError, InvalidPrivateKey, NotGenerated, PlatformKey};

/// AES-256-GCM with a 16-byte IV: Node's `crypto`, which defined this format, accepts any length.
///
/// AWS-LC accepts 12 bytes only, so RustCrypto's implementation is used for this one format. Every
/// key encrypts one message.
type AesGcm16 = AesGcm<Aes256, U16>;

const IV_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

const ALGORITHM: &str = "rsa-aes-256-gcm";
const VERSION: u32 = 1;

/// A secret that only the platform can decrypt.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[schema(as = Envelope)]
#[serde(rename_all = "camelCase")]
pub struct CredentialEnvelope {
    /// Base64 of a 16-byte IV, the AES-256-GCM ciphertext and its 16-byte tag.
    encrypted_data: String,

    /// Base64 of the AES key under RSA-OAEP-SHA256 with the platform's public key.
    #[serde(rename = "encryptedDEK")]
    encrypted_dek: String,

    /// `rsa-aes-256-gcm`
    #[schema(example = "rsa-aes-256-gcm")]
    algorithm: String,

    /// `1`
    #[schema(example = 1)]
    version: u32,
}

/// The text is not a public key that credentials can be encrypted with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected an RSA public key, as SPKI in PEM")]
pub struct InvalidPublicKey;

/// The decoded parts of an envelope.
struct Contents {
    data: Vec<u8>,
    dek: Vec<u8>,
}

impl CredentialEnvelope {
    /// Encrypts `content` for the platform whose public key is `public_key` (SPKI, as PEM).
    /// `random` must fill its argument from a cryptographically secure source.
    ///
    /// # Errors
    ///
    /// [`InvalidPublicKey`] if the text is not such a key.
    pub fn encrypt(
        content: &[u8],
        public_key: &str,
        random: &dyn Fn(&mut [u8]),
    ) -> Result<Self, InvalidPublicKey> {
        let pem = pem::parse(public_key).map_err(|_| InvalidPublicKey)?;
        let public = PublicEncryptingKey::from_der(pem.contents()).map_err(|_| InvalidPublicKey)?;
        let public = OaepPublicEncryptingKey::new(public).map_err(|_| InvalidPublicKey)?;
        let (mut key, mut iv) = ([0; 32], [0; IV_BYTES]);
        random(&mut key);
        random(&mut iv);

        let mut dek = vec![0; public.ciphertext_size()];
        let dek = public
            .encrypt(&OAEP_SHA256_MGF1SHA256, &key, &mut dek, None)
            .map_err(|_| InvalidPublicKey)?;
        let cipher = AesGcm16::new(&Array::from(key));
        let mut encrypted = content.to_vec();
        let tag = cipher
            .encrypt_inout_detached(&Array::from(iv), &[], encrypted.as_mut_slice().into())
            .map_err(|_| InvalidPublicKey)?;
        let data = [&iv[..], &encrypted, &tag].concat();
        Ok(Self {
            encrypted_data: BASE64_STANDARD.encode(data),
            encrypted_dek: BASE64_STANDARD.encode(dek),
            algorithm: ALGORITHM.to_owned(),
            version: VERSION,
        })
    }

    /// The length of what is encrypted, in base64.
    #[must_use]
    pub fn size(&self) -> usize {
        self.encrypted_data.len()
    }

    /// Checks the envelope's form without decrypting it.
    ///
    /// # Errors
    ///
    /// The expectation that is not met. It contains nothing of the envelope.
    pub fn check(&self) -> Result<(), &'static str> {
        self.contents().map(drop)
    }

    fn contents(&self) -> Result<Contents, &'static str> {
        if self.algorithm != ALGORITHM {
            return Err("expected the algorithm rsa-aes-256-gcm");
        }
        if self.version != VERSION {
            return Err("expected version 1");
        }
        let data = BASE64_STANDARD.decode(&self.encrypted_data);
        let data = data.map_err(|_| "expected encryptedData in base64")?;
        if data.is_empty() {
            return Err("expected encryptedData");
        }
        let dek = BASE64_STANDARD.decode(&self.encrypted_dek);
        let dek = dek.map_err(|_| "expected encryptedDEK in base64")?;
        if dek.is_empty() {
            return Err("expected an encryptedDEK");
        }
        Ok(Contents { data, dek })
    }
}

impl fmt::Debug for CredentialEnvelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialEnvelope")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn envelope(field: &str, value: Value) -> CredentialEnvelope {
        let mut envelope = json!({
            "encryptedData": BASE64_STANDARD.encode([0; 32]),
            "encryptedDEK": BASE64_STANDARD.encode([0; 256]),
            "algorithm": "rsa-aes-256-gcm",
            "version": 1,
        });
        envelope[field] = value;
        serde_json::from_value(envelope).unwrap()
    }

    #[test]
    fn each_field_of_an_envelope_is_checked() {
        assert_eq!(envelope("version", json!(1)).check(), Ok(()));
        for (field, value, named) in [
            ("version", json!(2), "version"),
            ("algorithm", json!("rsa"), "algorithm"),
            ("encryptedData", json!("%"), "encryptedData"),
            ("encryptedData", json!(""), "encryptedData"),
            ("encryptedDEK", json!("%"), "encryptedDEK"),
            ("encryptedDEK", json!(""), "encryptedDEK"),
        ] {
            let problem = envelope(field, value).check().unwrap_err();
            assert!(problem.contains(named), "{problem}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_public_key_is_refused_without_being_repeated() {
        for key in [
            "",
            "hunter2",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            let refused = CredentialEnvelope::encrypt(b"x", key, &|_| ()).unwrap_err();
            assert_eq!(refused, InvalidPublicKey);
            assert!(!refused.to_string().contains("hunter2"), "{refused}");
        }
    }
}
