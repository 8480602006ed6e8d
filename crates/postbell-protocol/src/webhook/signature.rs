//! Signed webhook requests (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use std::str::FromStr;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use postbell_core::Timestamp;

/// The prefix of a secret.
const PREFIX: &str = "whsec_";

/// The length of a secret in bytes, by the specification.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// Signs webhook requests and verifies their signatures.
#[derive(Clone)]
pub struct SigningKey(Key);

/// The text is not a signing secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected whsec_ and then 24 to 64 bytes in base64, as Standard Webhooks has it")]
pub struct InvalidSigningKey;

impl FromStr for SigningKey {
    type Err = InvalidSigningKey;

    fn from_str(text: &str) -> Result<Self, InvalidSigningKey> {
        let secret = text.strip_prefix(PREFIX).unwrap_or(text);
        let secret = BASE64_STANDARD
            .decode(secret)
            .map_err(|_| InvalidSigningKey)?;
        if LENGTHS.contains(&secret.len()) {
            Ok(Self(Key::new(HMAC_SHA256, &secret)))
        } else {
            Err(InvalidSigningKey)
        }
    }
}

impl SigningKey {
    /// The headers that sign `body`. `id` is the idempotency key.
    #[must_use]
    pub fn headers(&self, id: &str, now: Timestamp, body: &[u8]) -> [(&'static str, String); 3] {
        let seconds = now.as_secs().to_string();
        let signature = BASE64_STANDARD.encode(sign(&self.0, &signed(id, &seconds, body)));
        [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", seconds),
            ("webhook-signature", format!("v1,{signature}")),
        ]
    }

    /// Returns whether `signature`, the header `webhook-signature`, signs the body under the other
    /// two headers. The caller must also check that `timestamp` is recent.
    #[must_use]
    pub fn verify(&self, id: &str, timestamp: &str, signature: &str, body: &[u8]) -> bool {
        let signed = signed(id, timestamp, body);
        let mut signatures = signature
            .split(' ')
            .filter_map(|one| one.strip_prefix("v1,"));
        signatures.any(|one| {
            let tag = BASE64_STANDARD.decode(one);
            tag.is_ok_and(|tag| verify(&self.0, &signed, &tag).is_ok())
        })
    }
}

fn signed(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_signed_and_verified() {
        // The specification's own example.
        let key: SigningKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let now = Timestamp::from_millis(1_614_265_330_000);
        let headers = key.headers(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            now,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(
            headers[2].1,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        let [id, timestamp, signature] = headers.map(|(_, value)| value);
        let body = br#"{"test": 2432232314}"#;
        let old_key = format!("v1,AAAA {signature}");
        for signature in [&signature, &old_key] {
            assert!(key.verify(&id, &timestamp, signature, body));
        }
        assert!(!key.verify(&id, &timestamp, &signature, b"{}"));
        assert!(!key.verify(&id, "1614265331", &signature, body));
        assert!(!key.verify(&id, &timestamp, "v1,AAAA", body));
    }

    #[test]
    fn a_malformed_secret_is_refused() {
        for text in ["", "whsec_", "hunter2", "whsec_AAAA", "whsec_?"] {
            assert_eq!(text.parse::<SigningKey>().unwrap_err(), InvalidSigningKey);
        }
    }
}
