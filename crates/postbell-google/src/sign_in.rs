//! Who somebody is, by OpenID Connect's authorization code flow
//! (<https://developers.google.com/identity/openid-connect/openid-connect>).
//!
//! Our own, on the token check that we have: the usual crate for it brings `rsa`, which this project
//! does without (RUSTSEC-2023-0071).

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use postbell_core::{BoxError, EmailAddress, Timestamp};
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::{IdTokenError, IdTokenVerifier};

/// How long Google may take: a person waits.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Signs people in with their Google accounts.
pub struct SignIn {
    /// Sends the one request; it must not follow redirects.
    pub client: Client,
    /// Where a person says yes.
    pub auth_url: Url,
    /// Where a code becomes a token.
    pub token_url: Url,
    /// The OAuth client of the pages.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// Checks what comes.
    pub id_tokens: Arc<IdTokenVerifier>,
}

/// One attempt of one browser: nothing of it may be guessed, or used again.
pub struct SignInAttempt {
    /// Comes back with the browser, and shows that it is the one that left.
    pub state: String,
    /// Comes back in the token, and shows that it was made for this attempt.
    pub nonce: String,
    /// What the code is worthless without (PKCE, RFC 7636).
    pub verifier: SecretString,
    /// Where the browser comes back to.
    pub redirect_uri: String,
}

/// Why somebody was not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The code, or what it was exchanged for, is not good for this attempt. A new one may succeed.
    #[error("{0}")]
    Rejected(&'static str),

    /// Google does not know this client, or refuses it. An operator must look.
    #[error("google refused the pages' oauth client with {status}")]
    Refused {
        /// The answer.
        status: u16,
    },

    /// Google is busy or out of reach. The same may succeed later.
    #[error("google cannot be reached")]
    Unavailable(#[source] BoxError),
}

#[derive(Deserialize)]
struct Answer {
    id_token: SecretString,
}

impl SignIn {
    /// Where the browser is sent to.
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

    /// Exchanges the code that the browser brought, and returns the address that Google vouches for.
    ///
    /// That the state is the attempt's is for the caller to check before.
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
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("client_id", &self.client_id),
            ("client_secret", self.client_secret.expose_secret()),
            ("redirect_uri", &attempt.redirect_uri),
            ("code_verifier", attempt.verifier.expose_secret()),
        ];
        let request = self.client.post(self.token_url.clone()).form(&form);
        let answer = request.timeout(TIMEOUT).send().await.map_err(unavailable)?;
        match answer.status().as_u16() {
            200..=299 => {
                let answer: Answer = answer.json().await.map_err(unavailable)?;
                Ok(answer.id_token)
            }
            // `invalid_grant` (RFC 6749, section 5.2): the code was used, or is none.
            400 => Err(SignInError::Rejected("expected a code of google's")),
            status @ (429 | 500..) => {
                let problem = format!("it answered {status}");
                Err(SignInError::Unavailable(problem.into()))
            }
            status => Err(SignInError::Refused { status }),
        }
    }
}

fn unavailable(error: reqwest::Error) -> SignInError {
    SignInError::Unavailable(error.without_url().into())
}
