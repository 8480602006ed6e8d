//! The tokens that the machines' controllers accept.

use std::fmt;

use aws_lc_rs::hmac;
use postbell_core::SandboxId;
use postbell_http::constant_time_eq;
use secrecy::{ExposeSecret, SecretString};

/// Makes and checks the machines' tokens: lower-case hex of HMAC-SHA256(gateway secret, sandbox id)
/// (contract, section 2).
#[derive(Clone)]
pub struct GatewayTokens(hmac::Key);

impl GatewayTokens {
    /// The tokens made with `secret`.
    #[must_use]
    pub fn new(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Returns the token of a machine.
    #[must_use]
    pub fn token(&self, sandbox_id: &SandboxId) -> SecretString {
        let tag = hmac::sign(&self.0, sandbox_id.as_str().as_bytes());
        hex::encode(tag).into()
    }

    /// Whether a token is the machine's.
    pub(crate) fn is_token_of(&self, sandbox_id: &SandboxId, shown: &str) -> bool {
        let token = self.token(sandbox_id);
        constant_time_eq(token.expose_secret(), shown)
    }
}

impl fmt::Debug for GatewayTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayTokens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_hmac_of_the_sandbox_id() {
        // The value of `printf ann | openssl dgst -sha256 -hmac Jefe`.
        let tokens = GatewayTokens::new(&"Jefe".into());
        let ann: SandboxId = "ann".parse().unwrap();
        let token = tokens.token(&ann);
        let token = token.expose_secret();
        assert_eq!(&token[..32], "a559bed2d5b256281efc2e3c8f7890ed");
        assert_eq!(token.len(), 64);
        assert!(tokens.is_token_of(&ann, token));
        for wrong in ["", &token[..63], &token.to_uppercase()] {
            assert!(!tokens.is_token_of(&ann, wrong), "{wrong}");
        }
        assert!(!tokens.is_token_of(&"bob".parse().unwrap(), token));
    }
}
