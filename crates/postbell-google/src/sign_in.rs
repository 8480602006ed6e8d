//! Sign-in with Google, or with another issuer, by OpenID Connect's authorization code flow
//! (<https://developers.google.com/identity/openid-connect/openid-connect>).
//!
//! It uses the project's own token verifier: the crate `openidconnect` depends on `rsa`, which is
//! banned (RUSTSEC-2023-0071).

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use postbell_core::{BoxError, EmailAddress, Timestamp};
use postbell_http::read_response;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::byte_serialize;

use crate::{IdTokenError, IdTokenVerifier};

/// The timeout: a person is waiting.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest response: a few tokens.
const LONGEST_ANSWER: usize = 256 * 1024;

/// Signs people in with their accounts at an issuer.
pub struct SignIn {
    /// Must not follow redirects.
    pub client: Client,
    /// The consent page.
    pub auth_url: Url,
    /// The token endpoint.
    pub token_url: Url,
    /// The OAuth client's id.
    pub client_id: String,
    /// The OAuth client's secret.
    pub client_secret: SecretString,
    /// Whether the secret is sent as HTTP Basic authentication, and not in the form.
    pub basic_auth: bool,
    /// Verifies the ID token.
    pub id_tokens: Arc<IdTokenVerifier>,
}

/// One sign-in of one browser. Its values are unguessable and used once.
pub struct SignInAttempt {
    /// Returned by the browser: proves that it began this sign-in.
    pub state: String,
    /// Returned in the ID token: proves that it was issued for this sign-in.
    pub nonce: String,
    /// The PKCE verifier, without which the code is useless (RFC 7636).
    pub verifier: SecretString,
    /// The redirect URI.
    pub redirect_uri: String,
}

/// Why a sign-in failed.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The code or the token is not valid for this sign-in. A new sign-in may succeed.
    #[error("{0}")]
    Rejected(&'static str),

    /// The issuer refuses this client. An operator must act.
    #[error("the pages' oauth client was refused with {status}")]
    Refused {
        /// The answer.
        status: u16,
    },

    /// The issuer is unavailable. A repeat may succeed.
    #[error("the issuer cannot be reached")]
    Unavailable(#[source] BoxError),
}

#[derive(Deserialize)]
struct Answer {
    id_token: SecretString,
}

impl SignIn {
    /// The URL to send the browser to.
    #[must_use]
    pub fn consent_url(&self, attempt: &SignInAttempt) -> Url {
        let challenge = digest(&SHA256, attempt.verifier.expose_secret().as_bytes());
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(challenge);
        let mut url = self.auth_url.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &attempt.redirect_uri)
            .append_pair("scope", "openid email")
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("prompt", "select_account");
        url
    }

    /// Exchanges the code and returns the verified address.
    ///
    /// The caller must have compared the state before.
    ///
    /// # Errors
    ///
    /// [`SignInError`]
    pub async fn finish(
        &self,
        code: &str,
        attempt: &SignInAttempt,
        now: Timestamp,
    ) -> Result<EmailAddress, SignInError> {
        let token = self.exchange(code, attempt).await?;
        let checked = self
            .id_tokens
            .verify(token.expose_secret(), &self.client_id, now);
        let account = checked.await.map_err(|error| match error {
            IdTokenError::Rejected(expected) => SignInError::Rejected(expected),
            IdTokenError::KeysUnavailable(error) => SignInError::Unavailable(error.into()),
        })?;
        if account.nonce.as_deref() != Some(&*attempt.nonce) {
            return Err(SignInError::Rejected("expected this attempt's nonce"));
        }
        let azp = account.authorized_party.as_deref();
        if azp.is_some_and(|azp| azp != self.client_id) {
            return Err(SignInError::Rejected("expected a token for this client"));
        }
        if !account.email_verified {
            return Err(SignInError::Rejected("expected a verified address"));
        }
        let email = account.email.parse();
        email.map_err(|_| SignInError::Rejected("expected an address"))
    }

    async fn exchange(
        &self,
        code: &str,
        attempt: &SignInAttempt,
    ) -> Result<SecretString, SignInError> {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &attempt.redirect_uri),
            ("code_verifier", attempt.verifier.expose_secret()),
        ];
        let secret = self.client_secret.expose_secret();
        let mut request = self.client.post(self.token_url.clone());
        if self.basic_auth {
            // Both are encoded as in a form first (RFC 6749, section 2.3.1).
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            request = request.basic_auth(encoded(&self.client_id), Some(encoded(secret)));
        } else {
            form.push(("client_id", &self.client_id));
            form.push(("client_secret", secret));
        }
        let request = request.form(&form);
        let answer = request.timeout(TIMEOUT).send().await.map_err(unavailable)?;
        match answer.status().as_u16() {
            200..=299 => {
                let read = read_response(answer, LONGEST_ANSWER).await;
                let read = read.map_err(|error| SignInError::Unavailable(error.into()))?;
                let answer: Answer = serde_json::from_slice(&read)
                    .map_err(|_| SignInError::Unavailable("its answer cannot be read".into()))?;
                Ok(answer.id_token)
            }
            400 if is_client_refused(answer).await => Err(SignInError::Refused { status: 400 }),
            // `invalid_grant`: the code is invalid or was used.
            400 => Err(SignInError::Rejected("expected a code of the issuer's")),
            status @ (429 | 500..) => {
                let problem = format!("it answered {status}");
                Err(SignInError::Unavailable(problem.into()))
            }
            status => Err(SignInError::Refused { status }),
        }
    }
}

/// Whether the cause is the client's registration and not the code (RFC 6749, section 5.2).
async fn is_client_refused(answer: reqwest::Response) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let read = read_response(answer, LONGEST_ANSWER).await;
    let refusal = read.ok().and_then(|it| serde_json::from_slice(&it).ok());
    refusal
        .is_some_and(|it: Refusal| matches!(&*it.error, "invalid_client" | "unauthorized_client"))
}

fn unavailable(error: reqwest::Error) -> SignInError {
    SignInError::Unavailable(error.without_url().into())
}
