//! The gateway token (protocol, sections 2 and 4): the bearer token of a machine's controller. It is
//! lower-case hex of HMAC-SHA256(gateway secret, sandbox id).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use postbell_core::{EmailAddress, SandboxId};
use secrecy::{ExposeSecret, SecretString};

/// Derives and verifies the gateway tokens of all machines. The platform has the secret.
#[derive(Clone)]
pub struct GatewayTokens(hmac::Key);

/// One machine's gateway token, as its controller has it. Cheap to clone.
#[derive(Clone)]
pub struct GatewayToken(Arc<str>);

/// The text cannot be a gateway token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected visible ASCII characters, one at least")]
pub struct InvalidGatewayToken;

impl GatewayTokens {
    /// Uses `secret`, the gateway secret, as the key.
    #[must_use]
    pub fn new(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Derives the token of a machine.
    #[must_use]
    pub fn token(&self, sandbox_id: &SandboxId) -> SecretString {
        let tag = hmac::sign(&self.0, sandbox_id.as_str().as_bytes());
        hex::encode(tag).into()
    }

    /// Derives the token with which notifications of further accounts are delivered to a machine
    /// ([`GatewayToken::of_further_accounts`]).
    #[must_use]
    pub fn of_further_accounts(&self, sandbox_id: &SandboxId) -> SecretString {
        of_further_accounts(self.token(sandbox_id).expose_secret()).into()
    }

    /// Returns whether `shown` is the machine's token, in constant time.
    #[must_use]
    pub fn is_token_of(&self, sandbox_id: &SandboxId, shown: &str) -> bool {
        if shown.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return false;
        }
        let sandbox_id = sandbox_id.as_str().as_bytes();
        let tag = hex::decode(shown);
        tag.is_ok_and(|tag| hmac::verify(&self.0, sandbox_id, &tag).is_ok())
    }
}

impl GatewayToken {
    /// The token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl GatewayToken {
    /// The token with which notifications of further accounts are delivered. A controller that watches one account does not
    /// know it: its watcher would answer 202 to another mailbox, as if the bot had got the mail.
    #[must_use]
    pub fn of_further_accounts(&self) -> Self {
        Self(of_further_accounts(&self.0).into())
    }

    /// Returns a name of a mailbox that stays as long as the token, the same for each spelling of its address. Without the
    /// token, no address can be compared with it.
    #[must_use]
    pub fn mailbox_name(&self, address: &str) -> String {
        let mailbox = match address.parse::<EmailAddress>() {
            Ok(address) => address.mailbox_key().into_owned(),
            Err(_) => address.to_lowercase(),
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        let tag = hmac::sign(&key, format!("mailbox {mailbox}").as_bytes());
        hex::encode(&tag.as_ref()[..4])
    }
}

fn of_further_accounts(token: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
    hex::encode(hmac::sign(&key, b"further accounts"))
}

impl TryFrom<&str> for GatewayToken {
    type Error = InvalidGatewayToken;

    /// Accepts any text that can be sent in a header: an operator may have set a token of their own.
    fn try_from(text: &str) -> Result<Self, InvalidGatewayToken> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_visible && !text.is_empty() {
            Ok(Self(text.into()))
        } else {
            Err(InvalidGatewayToken)
        }
    }
}

impl fmt::Debug for GatewayTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayTokens")
    }
}

impl fmt::Debug for GatewayToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayToken")
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
        for wrong in ["", &token[..63], &token[..62], &token.to_uppercase()] {
            assert!(!tokens.is_token_of(&ann, wrong), "{wrong}");
        }
        assert!(!tokens.is_token_of(&"bob".parse().unwrap(), token));
    }

    #[test]
    fn the_name_of_a_mailbox_is_that_of_each_spelling_and_of_one_token() {
        let token = GatewayToken::try_from("of-the-gateway").unwrap();
        let name = token.mailbox_name("a.nn@gmail.com");
        assert_eq!(name.len(), 8);
        assert_eq!(token.mailbox_name("Ann@googlemail.com"), name);
        assert_ne!(token.mailbox_name("bob@gmail.com"), name);
        let other = GatewayToken::try_from("another").unwrap();
        assert_ne!(other.mailbox_name("ann@gmail.com"), name);
    }

    #[test]
    fn a_controller_accepts_the_token_that_the_platform_derives() {
        let tokens = GatewayTokens::new(&"Jefe".into());
        let ann: SandboxId = "ann".parse().unwrap();
        let token = GatewayToken::try_from(tokens.token(&ann).expose_secret()).unwrap();
        assert!(tokens.is_token_of(&ann, token.expose()));
        let further = tokens.of_further_accounts(&ann);
        let known = token.of_further_accounts();
        assert_eq!(known.expose(), further.expose_secret());
        assert!(!tokens.is_token_of(&ann, known.expose()));
        for text in ["", "a b", "ä"] {
            assert_eq!(
                GatewayToken::try_from(text).unwrap_err(),
                InvalidGatewayToken
            );
        }
    }
}
