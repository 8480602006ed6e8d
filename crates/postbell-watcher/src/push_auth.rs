//! Authenticates pushes.

use std::sync::Arc;

use postbell_core::Timestamp;
use postbell_google::{IdTokenError, IdTokenVerifier};
use postbell_http::constant_time_eq;
use secrecy::{ExposeSecret, SecretString};

const NO_OIDC: &str =
    "the token of --token or POSTBELL_WATCH_TOKEN; for one of Google, start with --verify-oidc";
const NO_KEYS: &str = "an answer with Google's keys, to verify the token";

/// The accepted ways to authenticate a push. With none, every push is refused.
#[derive(Clone, Default)]
pub struct PushAuth {
    /// The token that the controller sends.
    pub token: Option<SecretString>,
    /// Google's OIDC token.
    pub oidc: Option<Oidc>,
}

/// The accepted OIDC tokens.
#[derive(Clone)]
pub struct Oidc {
    /// Verifies signature, issuer, audience and times.
    pub verifier: Arc<IdTokenVerifier>,
    /// The required audience.
    pub audience: String,
    /// The required service account: anyone can obtain a token of Google for any audience.
    pub email: String,
}

impl PushAuth {
    /// Accepts this token only.
    #[must_use]
    pub fn with_token(token: SecretString) -> Self {
        Self {
            token: Some(token),
            oidc: None,
        }
    }

    pub(crate) fn accepts_token(&self, shown: &str) -> bool {
        let expected = self.token.as_ref().map(ExposeSecret::expose_secret);
        expected.is_some_and(|expected| constant_time_eq(expected, shown))
    }

    /// Returns what was expected in place of this token of Google.
    pub(crate) async fn check_oidc(&self, shown: &str, now: Timestamp) -> Result<(), &'static str> {
        let oidc = self.oidc.as_ref().ok_or(NO_OIDC)?;
        match oidc.verifier.verify(shown, &oidc.audience, now).await {
            Ok(caller) if !caller.email_verified => Err("a token of Google with a verified email"),
            Ok(caller) if caller.email.eq_ignore_ascii_case(&oidc.email) => Ok(()),
            Ok(_) => Err("a token of the service account that --oidc-email names"),
            Err(IdTokenError::Rejected(expected)) => Err(expected),
            Err(IdTokenError::KeysUnavailable(_)) => Err(NO_KEYS),
        }
    }
}
