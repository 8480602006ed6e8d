//! Authenticates pushes.

use std::sync::Arc;

use postbell_core::Timestamp;
use postbell_google::IdTokenVerifier;
use postbell_http::constant_time_eq;
use secrecy::{ExposeSecret, SecretString};
use tracing::debug;

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

    pub(crate) async fn accepts_oidc(&self, shown: &str, now: Timestamp) -> bool {
        let Some(oidc) = &self.oidc else {
            return false;
        };
        match oidc.verifier.verify(shown, &oidc.audience, now).await {
            Ok(caller) => caller.email_verified && caller.email.eq_ignore_ascii_case(&oidc.email),
            Err(error) => {
                debug!(%error, "Refused a token");
                false
            }
        }
    }
}
