//! Credentials as a user's setup tool sends them: encrypted for the platform alone.

mod key;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::key::{InvalidKey, PlatformKey};

/// The one kind of envelope that there is.
const ALGORITHM: &str = "rsa-aes-256-gcm";
const VERSION: u32 = 1;

/// A secret that only the platform can read (contract, section 2).
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
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

/// An envelope's parts, as bytes.
struct Contents {
    data: Vec<u8>,
    dek: Vec<u8>,
}

impl Envelope {
    /// Finds what is wrong with an envelope's form. Whether it opens is seen by whoever opens it: it is
    /// stored as it came, and its user's machine may have a key that we have not.
    ///
    /// # Errors
    ///
    /// What was expected, without anything of what came.
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn envelope(field: &str, value: Value) -> Envelope {
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
    fn an_envelope_is_checked_field_by_field() {
        assert_eq!(envelope("version", json!(1)).check(), Ok(()));
        for (field, value, told) in [
            ("version", json!(2), "version"),
            ("algorithm", json!("rsa"), "algorithm"),
            ("encryptedData", json!("%"), "encryptedData"),
            ("encryptedData", json!(""), "encryptedData"),
            ("encryptedDEK", json!("%"), "encryptedDEK"),
            ("encryptedDEK", json!(""), "encryptedDEK"),
        ] {
            let problem = envelope(field, value).check().unwrap_err();
            assert!(problem.contains(told), "{problem}");
        }
    }
}
