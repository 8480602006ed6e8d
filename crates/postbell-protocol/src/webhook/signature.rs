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

/// The most secrets at a time: the current one and, during a rotation, the former.
const MOST_SECRETS: usize = 2;

/// Signs webhook requests and verifies their signatures, with one secret or two.
///
/// With two, each request has a signature of each, so that receivers can be changed one by one.
#[derive(Clone)]
pub struct SigningKeys(Vec<Key>);

/// The text is not one signing secret or two.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "expected whsec_ and then 24 to 64 bytes in base64, as Standard Webhooks has it, or two of these during a rotation"
)]
pub struct InvalidSigningKeys;

impl FromStr for SigningKeys {
    type Err = InvalidSigningKeys;

    /// Secrets are separated by a comma or white space.
    fn from_str(text: &str) -> Result<Self, InvalidSigningKeys> {
        let secrets = text.split(|it: char| it == ',' || it.is_ascii_whitespace());
        let secrets = secrets.filter(|secret| !secret.is_empty());
        let keys = secrets.map(key).collect::<Result<Vec<_>, _>>()?;
        if (1..=MOST_SECRETS).contains(&keys.len()) {
            Ok(Self(keys))
        } else {
            Err(InvalidSigningKeys)
        }
    }
}

fn key(secret: &str) -> Result<Key, InvalidSigningKeys> {
    let secret = secret.strip_prefix(PREFIX).unwrap_or(secret);
    let secret = BASE64_STANDARD.decode(secret);
    let secret = secret.map_err(|_| InvalidSigningKeys)?;
    if LENGTHS.contains(&secret.len()) {
        Ok(Key::new(HMAC_SHA256, &secret))
    } else {
        Err(InvalidSigningKeys)
    }
}

impl SigningKeys {
    /// The headers that sign `body`. `id` is the idempotency key.
    ///
    /// Each has two names: the specification's, and the older one of Svix, which is the only one that some
    /// receivers know, such as Hermes Agent 0.19
    /// (<https://docs.svix.com/receiving/verifying-payloads/how-manual>).
    #[must_use]
    pub fn headers(&self, id: &str, now: Timestamp, body: &[u8]) -> [(&'static str, String); 6] {
        let seconds = now.as_secs().to_string();
        let signed = signed(id, &seconds, body);
        let signature = |key| format!("v1,{}", BASE64_STANDARD.encode(sign(key, &signed)));
        let signatures: Vec<_> = self.0.iter().map(signature).collect();
        let signatures = signatures.join(" ");
        [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", seconds.clone()),
            ("webhook-signature", signatures.clone()),
            ("svix-id", id.to_owned()),
            ("svix-timestamp", seconds),
            ("svix-signature", signatures),
        ]
    }

    /// Returns whether `signature`, the header `webhook-signature`, signs the body under the other
    /// two headers. The caller must also check that `timestamp` is recent.
    #[must_use]
    pub fn verify(&self, id: &str, timestamp: &str, signature: &str, body: &[u8]) -> bool {
        let signed = signed(id, timestamp, body);
        let mut signatures = signature
            .split(' ')
            .filter_map(|one| BASE64_STANDARD.decode(one.strip_prefix("v1,")?).ok());
        signatures.any(|tag| {
            let mut keys = self.0.iter();
            keys.any(|key| verify(key, &signed, &tag).is_ok())
        })
    }
}

fn signed(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKeys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const STRANGER: &str = "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

    #[test]
    fn the_example_of_the_specification_is_signed_and_verified() {
        // The specification's own example.
        let key: SigningKeys = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
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
        let [id, timestamp, signature, ..] = headers.map(|(_, value)| value);
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
    fn with_two_secrets_a_receiver_of_either_accepts() {
        let [old, new] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", NEW];
        for text in [format!("{new} {old}"), format!("{new},{old}\n")] {
            let both: SigningKeys = text.parse().unwrap();
            let now = Timestamp::from_millis(1_614_265_330_000);
            let headers = both.headers("msg_1", now, b"{}").map(|it| it.1);
            let [id, timestamp, signature, svix @ ..] = headers;
            assert_eq!(svix, [&*id, &*timestamp, &*signature]);
            assert_eq!(signature.matches("v1,").count(), 2, "{signature}");
            for receiver in [old, new, &text] {
                let receiver: SigningKeys = receiver.parse().unwrap();
                assert!(receiver.verify(&id, &timestamp, &signature, b"{}"));
                assert!(!receiver.verify(&id, &timestamp, &signature, b"[]"));
            }
            let stranger: SigningKeys = STRANGER.parse().unwrap();
            assert!(!stranger.verify(&id, &timestamp, &signature, b"{}"));
        }
    }

    #[test]
    fn malformed_secrets_are_refused() {
        let three = format!("{NEW} {STRANGER},{NEW}");
        let one_is_wrong = format!("{NEW} hunter2");
        for text in [
            "",
            " ",
            ",",
            "whsec_",
            "hunter2",
            "whsec_AAAA",
            "whsec_?",
            &three,
            &one_is_wrong,
        ] {
            assert_eq!(text.parse::<SigningKeys>().unwrap_err(), InvalidSigningKeys);
        }
    }
}
