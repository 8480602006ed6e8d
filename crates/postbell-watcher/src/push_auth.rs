//! What a push must show.

use std::sync::Arc;

use postbell_core::Timestamp;
use postbell_google::IdTokenVerifier;
use postbell_http::constant_time_eq;
use secrecy::{ExposeSecret, SecretString};
use tracing::debug;

/// What a push must show: one of these. Where there is none, nobody gets in.
#[derive(Clone, Default)]
pub struct PushAuth {
    /// The token that the controller shows, too.
    pub token: Option<SecretString>,
    /// Google's own token.
    pub oidc: Option<Oidc>,
}

/// Which tokens of Google's are accepted.
#[derive(Clone)]
pub struct Oidc {
    /// Checks them.
    pub verifier: Arc<IdTokenVerifier>,
    /// What they must be made for.
    pub audience: String,
    /// The service account that they must be of: anybody can have Google sign for an audience.
    pub email: String,
}

impl PushAuth {
    /// This token, and nothing else.
    #[must_use]
    pub fn with_token(token: SecretString) -> Self {
        Self {
            token: Some(token),
            oidc: None,
        }
    }

    pub(crate) fn is_token(&self, shown: &str) -> bool {
        let expected = self.token.as_ref().map(ExposeSecret::expose_secret);
        expected.is_some_and(|expected| constant_time_eq(expected, shown))
    }

    pub(crate) async fn is_google(&self, shown: &str, now: Timestamp) -> bool {
        let Some(oidc) = &self.oidc else {
            return false;
        };
        match oidc.verifier.verify(shown, &oidc.audience, now).await {
            Ok(caller) => caller.email_verified && caller.email == oidc.email,
            Err(error) => {
                debug!(%error, "Refused a token");
                false
            }
        }
    }
}
