//! Sign-in with any OpenID Connect issuer, whose endpoints are found by discovery
//! (<https://openid.net/specs/openid-connect-discovery-1_0.html>).

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{BoxError, Clock};
use postbell_http::{is_loopback, read_response};
use reqwest::Client;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::sync::Mutex;
use tracing::{info, warn};
use url::Url;

use crate::{IdTokenVerifier, SignIn, SignInError, SigningKeys};

/// The timeout: a person is waiting.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest document; those of known issuers have a few kilobytes.
const LONGEST_DOCUMENT: usize = 256 * 1024;

/// The path of the document, below the issuer's.
const DISCOVERY: &str = ".well-known/openid-configuration";

/// How long endpoints and keys are used before the document is read again: a key that the issuer withdraws
/// signs nobody in after it.
const LIFE: Duration = Duration::from_secs(60 * 60);

/// The shortest time between two attempts to read the document: strangers can ask for a sign-in.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);

/// An issuer that signs people in. Its endpoints are discovered when the first person signs in.
pub struct Issuer {
    client: Client,
    url: String,
    client_id: String,
    client_secret: SecretString,
    clock: Arc<dyn Clock>,
    discovery: Mutex<Discovery>,
}

/// The discovered endpoints.
#[derive(Default)]
struct Discovery {
    last: Option<(Arc<SignIn>, Duration)>,
    failed_at: Option<Duration>,
}

/// The used members of the document.
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Issuer {
    /// The issuer with this identifier, exactly as it writes it, and our client there. Requests nothing yet.
    /// `client` must not follow redirects.
    #[must_use]
    pub fn new(
        client: Client,
        url: String,
        client_id: String,
        client_secret: SecretString,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            client,
            url,
            client_id,
            client_secret,
            clock,
            discovery: Mutex::default(),
        }
    }

    /// Returns the client of the issuer's endpoints. Concurrent calls share one request, and what it found is used
    /// for an hour, or longer if the issuer cannot be reached then.
    ///
    /// # Errors
    ///
    /// [`SignInError::Unavailable`] if the document cannot be fetched, or is that of another issuer. A call a
    /// second later tries again.
    pub async fn sign_in(&self) -> Result<Arc<SignIn>, SignInError> {
        let mut discovery = self.discovery.lock().await;
        let now = self.clock.elapsed();
        let is_within = |at: Duration, period| now.saturating_sub(at) < period;
        let last = discovery.last.clone();
        let failed_just_now = discovery
            .failed_at
            .is_some_and(|at| is_within(at, BETWEEN_ATTEMPTS));
        match last {
            Some((sign_in, at)) if is_within(at, LIFE) || failed_just_now => return Ok(sign_in),
            None if failed_just_now => {
                return Err(SignInError::Unavailable("not yet again".into()));
            }
            _ => (),
        }
        let verifier = last.as_ref().map(|(sign_in, _)| &sign_in.id_tokens);
        let discovered = self.discover(verifier).await;
        let now = self.clock.elapsed();
        match (discovered, last) {
            (Ok(sign_in), _) => {
                info!(issuer = %self.url, "Discovered the issuer of sign-ins");
                discovery.last = Some((Arc::clone(&sign_in), now));
                Ok(sign_in)
            }
            (Err(error), Some((sign_in, _))) => {
                let error = &*error as &dyn std::error::Error;
                warn!(
                    error,
                    "Could not discover the issuer of sign-ins again; using what it said before"
                );
                discovery.failed_at = Some(now);
                Ok(sign_in)
            }
            (Err(error), None) => {
                discovery.failed_at = Some(now);
                Err(SignInError::Unavailable(error))
            }
        }
    }

    async fn discover(
        &self,
        verifier: Option<&Arc<IdTokenVerifier>>,
    ) -> Result<Arc<SignIn>, BoxError> {
        let base = self.url.trim_end_matches('/');
        let request = self
            .client
            .get(format!("{base}/{DISCOVERY}"))
            .timeout(TIMEOUT);
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("its document was answered with {}", status.as_u16()).into());
        }
        let body = read_response(answer, LONGEST_DOCUMENT).await?;
        let document = serde_json::from_slice(&body)
            .map_err(|_| "its document does not name the endpoints of a sign-in")?;
        let mut sign_in = self.client_of(document)?;
        let same = |verifier: &&Arc<IdTokenVerifier>| {
            verifier.keys().url() == sign_in.id_tokens.keys().url()
        };
        if let Some(verifier) = verifier.filter(same) {
            // Its keys are used while they cannot be fetched.
            verifier.keys().renew().await;
            sign_in.id_tokens = Arc::clone(verifier);
        }
        Ok(Arc::new(sign_in))
    }

    fn client_of(&self, document: Discovered) -> Result<SignIn, BoxError> {
        // Section 4.3: the document of another issuer must not be used.
        if document.issuer != self.url {
            let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
            return Err(if trimmed(&document.issuer) == trimmed(&self.url) {
                "its document names it with another slash at the end than platform.sign_in.issuer.url"
            } else {
                "its document names another issuer"
            }
            .into());
        }
        let endpoints = [
            &document.authorization_endpoint,
            &document.token_endpoint,
            &document.jwks_uri,
        ];
        // Codes and secrets leave by HTTPS only, unless issuer and endpoint are on this machine.
        let is_here = |url: &Url| url.scheme() == "http" && is_loopback(url);
        let is_local_issuer = self.url.parse().is_ok_and(|url: Url| is_here(&url));
        let is_secure = |url: &&Url| url.scheme() == "https" || (is_local_issuer && is_here(url));
        if !endpoints.iter().all(is_secure) {
            return Err("an endpoint in its document is not an https URL".into());
        }
        // Basic is the default (section 3, `token_endpoint_auth_methods_supported`).
        let methods = document.token_endpoint_auth_methods_supported;
        let has_post = |methods: Vec<String>| methods.iter().any(|it| it == "client_secret_post");
        let keys = SigningKeys::new(
            document.issuer.clone(),
            self.client.clone(),
            document.jwks_uri,
            Arc::clone(&self.clock),
        );
        let id_tokens = IdTokenVerifier::of_issuer(Arc::new(keys), document.issuer);
        Ok(SignIn {
            client: self.client.clone(),
            auth_url: document.authorization_endpoint,
            token_url: document.token_endpoint,
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            basic_auth: !methods.is_some_and(has_post),
            id_tokens: Arc::new(id_tokens),
        })
    }
}

#[cfg(test)]
mod tests {
    use postbell_core::SystemClock;

    use super::*;

    fn issuer(url: &str) -> Issuer {
        Issuer::new(
            Client::new(),
            url.to_owned(),
            "postbell".to_owned(),
            "secret".into(),
            Arc::new(SystemClock::new()),
        )
    }

    fn document(issuer: &str, endpoint: &str) -> Discovered {
        Discovered {
            issuer: issuer.to_owned(),
            authorization_endpoint: "https://id.example.com/auth".parse().unwrap(),
            token_endpoint: endpoint.parse().unwrap(),
            jwks_uri: "https://keys.example.com/jwks".parse().unwrap(),
            token_endpoint_auth_methods_supported: None,
        }
    }

    #[test]
    fn only_the_issuers_own_document_with_secure_endpoints_is_used() {
        let (own, local) = ("https://id.example.com/realms/bots", "http://localhost:1");
        for (issuer_url, named, endpoint, good) in [
            (own, own, "https://id.example.com/token", true),
            (
                own,
                "https://id.example.com/realms/bots/",
                "https://x/token",
                false,
            ),
            (
                own,
                "https://id.example.com/realms/other",
                "https://x/token",
                false,
            ),
            (own, "https://evil.example.com", "https://x/token", false),
            (own, own, "http://id.example.com/token", false),
            (own, own, "http://localhost:1/t", false),
            (local, local, "http://localhost:1/t", true),
            (local, local, "http://id.example.com/token", false),
        ] {
            let client = issuer(issuer_url).client_of(document(named, endpoint));
            assert_eq!(client.is_ok(), good, "{issuer_url} {named} {endpoint}");
        }
    }

    #[test]
    fn the_client_authenticates_as_the_issuer_supports() {
        let own = "https://id.example.com";
        for (methods, basic) in [
            (None, true),
            (Some(vec!["client_secret_basic"]), true),
            (
                Some(vec!["client_secret_basic", "client_secret_post"]),
                false,
            ),
        ] {
            let mut document = document(own, "https://id.example.com/token");
            document.token_endpoint_auth_methods_supported =
                methods.map(|methods| methods.into_iter().map(str::to_owned).collect());
            let client = issuer(own).client_of(document).unwrap();
            assert_eq!(client.basic_auth, basic);
        }
    }
}
