//! Google's signing keys for ID tokens.

use std::error::Error;
use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::RwLock;
use rcgen::{CertificateParams, PKCS_RSA_SHA256};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::rng::random_hex;

/// The current key first; the previous one stays published. A key is generated when it is first used: most tests use none.
#[derive(Debug)]
pub(crate) struct SigningKeys {
    published: RwLock<Vec<LazyLock<SigningKey>>>,
    unpublished: LazyLock<SigningKey>,
}

struct SigningKey {
    id: String,
    key: EncodingKey,
    jwk: Jwk,
    certificate: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Claims of an ID token
/// (<https://docs.cloud.google.com/pubsub/docs/authenticate-push-subscriptions>).
#[derive(Clone, Debug, Serialize)]
pub struct IdTokenClaims {
    /// The audience; a test may use any JSON value.
    pub aud: Value,
    /// The authorized party: numeric id of the service account.
    pub azp: String,
    /// The subject: the same number.
    pub sub: String,
    /// Address of the service account.
    pub email: String,
    /// Whether the address is verified.
    pub email_verified: Value,
    /// Expiry, in seconds since the Unix epoch.
    pub exp: i64,
    /// Time of issue, in seconds since the Unix epoch.
    pub iat: i64,
    /// The issuer.
    pub iss: String,
    /// The nonce of the authorization request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Whether to sign with an unpublished key.
    #[serde(skip)]
    pub signed_by_stranger: bool,
}

impl IdTokenClaims {
    /// Claims of a valid service account token issued at `now` (seconds since the Unix epoch).
    #[must_use]
    pub fn of(service_account: &str, audience: &str, now: i64) -> Self {
        let number = "113774264463038321964".to_owned();
        Self {
            aud: audience.into(),
            azp: number.clone(),
            sub: number,
            email: service_account.to_owned(),
            email_verified: true.into(),
            exp: now + 3600,
            iat: now,
            iss: "https://accounts.google.com".to_owned(),
            nonce: None,
            signed_by_stranger: false,
        }
    }
}

impl SigningKeys {
    pub(crate) fn new() -> Self {
        Self {
            published: RwLock::new(vec![LazyLock::new(SigningKey::generate)]),
            unpublished: LazyLock::new(SigningKey::generate),
        }
    }

    pub(crate) fn rotate(&self) {
        let mut published = self.published.write();
        published.insert(0, LazyLock::new(SigningKey::generate));
        published.truncate(2);
    }

    pub(crate) fn sign(&self, claims: &IdTokenClaims) -> String {
        let published = self.published.read();
        let present = published.first().filter(|_| !claims.signed_by_stranger);
        let key = present.unwrap_or(&self.unpublished);
        let header = Header {
            kid: Some(key.id.clone()),
            ..Header::new(Algorithm::RS256)
        };
        #[expect(
            clippy::expect_used,
            reason = "claims of texts and numbers can be written as JSON"
        )]
        encode(&header, claims, &key.key).expect("an RSA key signs")
    }

    /// The published keys as a JWK set (RFC 7517).
    pub(super) fn jwks(&self) -> Value {
        let keys: Vec<_> = self
            .published
            .read()
            .iter()
            .map(|key| key.jwk.clone())
            .collect();
        serde_json::json!({ "keys": keys })
    }

    /// The published keys as certificates in PEM, by key id.
    pub(super) fn certificates(&self) -> Value {
        let published = self.published.read();
        let named = published
            .iter()
            .map(|key| (key.id.clone(), key.certificate.clone().into()));
        Value::Object(named.collect::<Map<_, _>>())
    }
}

impl SigningKey {
    #[expect(clippy::expect_used, reason = "AWS-LC generates keys, and reads them")]
    fn generate() -> Self {
        Self::try_generate().expect("a key is generated")
    }

    fn try_generate() -> Result<Self, Box<dyn Error>> {
        let pair = KeyPair::generate(KeySize::Rsa2048)?;
        let pem = pem(AsDer::<Pkcs8V1Der<'_>>::as_der(&pair)?.as_ref());
        let key = EncodingKey::from_rsa_pem(pem.as_bytes())?;
        let id = random_hex(20);
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS256)?;
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            id,
            key,
            jwk,
            certificate: certificate(&pem)?,
        })
    }
}

fn pem(pkcs8: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(pkcs8);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + "-----END PRIVATE KEY-----\n"
}

fn certificate(key: &str) -> Result<String, rcgen::Error> {
    let key = rcgen::KeyPair::from_pem_and_sign_algo(key, &PKCS_RSA_SHA256)?;
    Ok(CertificateParams::default().self_signed(&key)?.pem())
}
