//! Credentials sealed so that the platform alone can read them (contract, section 2).

use std::fmt;

use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{AesGcm, aes::Aes256};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use crate::trouble::{Trouble, Wall};

/// AES-256-GCM with a vector of 16 bytes, which AWS-LC's interface does not take: see the platform's
/// key, which opens it.
type AesGcm16 = AesGcm<Aes256, U16>;

/// A secret that only the platform can read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Envelope {
    encrypted_data: String,
    #[serde(rename = "encryptedDEK")]
    encrypted_dek: String,
    algorithm: &'static str,
    version: u32,
}

impl Envelope {
    /// Seals `content` for the holder of the key whose public half is `public_key` (SPKI, as PEM);
    /// `random` fills bytes that nobody can guess.
    ///
    /// # Errors
    ///
    /// [`Trouble`] where that is no key.
    pub(crate) fn seal(
        content: &[u8],
        public_key: &str,
        random: &dyn Fn(&mut [u8]),
    ) -> Result<Self, Trouble> {
        let no_key = || {
            let problem = "the platform's public key is none: expected RSA, as SPKI in PEM";
            Trouble::new(Wall::Platform(problem.to_owned()))
        };
        let pem = pem::parse(public_key).map_err(|_| no_key())?;
        let public = PublicEncryptingKey::from_der(pem.contents()).map_err(|_| no_key())?;
        let public = OaepPublicEncryptingKey::new(public).map_err(|_| no_key())?;
        let (mut key, mut iv) = ([0; 32], [0; 16]);
        random(&mut key);
        random(&mut iv);

        let mut dek = vec![0; public.ciphertext_size()];
        let dek = public
            .encrypt(&OAEP_SHA256_MGF1SHA256, &key, &mut dek, None)
            .map_err(|_| no_key())?;
        let cipher = AesGcm16::new(&Array::from(key));
        let mut sealed = content.to_vec();
        let tag = cipher
            .encrypt_inout_detached(&Array::from(iv), &[], sealed.as_mut_slice().into())
            .map_err(|_| no_key())?;
        let data = [&iv[..], &sealed, &tag].concat();
        Ok(Self {
            encrypted_data: BASE64_STANDARD.encode(data),
            encrypted_dek: BASE64_STANDARD.encode(dek),
            algorithm: "rsa-aes-256-gcm",
            version: 1,
        })
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Envelope")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_refused() {
        for key in [
            "",
            "hunter2",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            let refused = Envelope::seal(b"x", key, &|_| ()).unwrap_err();
            assert!(!refused.to_string().contains("hunter2"), "{refused}");
        }
    }
}
