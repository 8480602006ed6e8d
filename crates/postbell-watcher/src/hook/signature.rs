//! Signed hooks (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use std::str::FromStr;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use postbell_core::Timestamp;

/// What a secret begins with, as it is handed out.
const PREFIX: &str = "whsec_";

/// How many bytes a secret has, by the specification.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// Signs hooks, so that the bot knows whose they are and that nobody changed them.
#[derive(Clone)]
pub struct SigningKey(Key);

/// A secret that is none.
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
    /// The headers that sign `body`, under an id that is the same on every repeat.
    pub(super) fn headers(
        &self,
        id: &str,
        now: Timestamp,
        body: &[u8],
    ) -> [(&'static str, String); 3] {
        let seconds = now.as_secs().to_string();
        let signed = [id.as_bytes(), b".", seconds.as_bytes(), b".", body].concat();
        let signature = BASE64_STANDARD.encode(sign(&self.0, &signed));
        [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", seconds),
            ("webhook-signature", format!("v1,{signature}")),
        ]
    }
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
    fn a_hook_is_signed_as_the_specification_has_it() {
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
    }

    #[test]
    fn a_secret_that_is_none_is_refused() {
        for text in ["", "whsec_", "hunter2", "whsec_AAAA", "whsec_?"] {
            assert_eq!(text.parse::<SigningKey>().unwrap_err(), InvalidSigningKey);
        }
    }
}
