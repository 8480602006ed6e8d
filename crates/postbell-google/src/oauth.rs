//! Access tokens, for those who gave us a refresh token
//! (<https://developers.google.com/identity/protocols/oauth2/native-app>).

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{BoxError, Clock};
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

/// How long before its end a token is replaced: it must outlive the request that it is sent with.
const MARGIN: Duration = Duration::from_secs(120);

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The credentials file that Google's own tools read, of type `authorized_user`.
#[derive(Clone, Debug, Deserialize)]
pub struct AuthorizedUser {
    /// The OAuth client.
    pub client_id: String,
    /// The client's secret; that of a desktop client is none, but Google wants to see it.
    pub client_secret: SecretString,
    /// What access tokens are made from.
    pub refresh_token: SecretString,
}

/// Gives access tokens, and keeps each until shortly before its end.
pub struct TokenSource {
    client: Client,
    url: Url,
    user: AuthorizedUser,
    clock: Arc<dyn Clock>,
    /// Held while refreshing, so that many calls at once cost one request.
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    token: SecretString,
    expires_at: Duration,
}

/// Why there is no access token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The user took the grant back, or it ended: only the user's consent gives a new one.
    #[error("the grant has been revoked or has expired: connect the google account again")]
    GrantRevoked,

    /// Google does not know this client, or refuses it. An operator must look.
    #[error("google refused the oauth client ({reason})")]
    Refused {
        /// Google's word for it, such as `invalid_client`.
        reason: String,
    },

    /// Google is busy or out of reach. The same call may succeed later.
    #[error("google's token endpoint cannot be reached")]
    Unavailable(#[source] BoxError),
}

#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    expires_in: u64,
}

#[derive(Default, Deserialize)]
struct Refusal {
    error: String,
}

impl TokenSource {
    /// Tokens for `user` from the endpoint at `url`. Asks nothing yet.
    #[must_use]
    pub fn new(client: Client, url: Url, user: AuthorizedUser, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            url,
            user,
            clock,
            kept: Mutex::new(None),
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Returns a token that is good for a while.
    ///
    /// # Errors
    ///
    /// [`TokenError`]
    pub async fn access_token(&self) -> Result<SecretString, TokenError> {
        let mut kept = self.kept.lock().await;
        let now = self.clock.elapsed();
        if let Some(kept) = kept.as_ref().filter(|kept| now < kept.expires_at) {
            return Ok(kept.token.clone());
        }
        let answer = self.refresh().await?;
        let life = Duration::from_secs(answer.expires_in).saturating_sub(MARGIN);
        *kept = Some(Kept {
            token: answer.access_token.clone(),
            expires_at: now + life,
        });
        Ok(answer.access_token)
    }

    /// Forgets a token that was refused, so that the next call asks for a new one.
    pub async fn forget(&self, refused: &SecretString) {
        let mut kept = self.kept.lock().await;
        kept.take_if(|kept| kept.token.expose_secret() == refused.expose_secret());
    }

    async fn refresh(&self) -> Result<Answer, TokenError> {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.user.client_id),
            ("client_secret", self.user.client_secret.expose_secret()),
            ("refresh_token", self.user.refresh_token.expose_secret()),
        ];
        let request = self
            .client
            .post(self.url.clone())
            .timeout(TIMEOUT)
            .form(&form);
        let answer = request.send().await.map_err(unavailable)?;
        let status = answer.status();
        if status.is_success() {
            return answer.json().await.map_err(unavailable);
        }
        if status.is_server_error() || status.as_u16() == 429 {
            let problem = format!("it answered {}", status.as_u16());
            return Err(TokenError::Unavailable(problem.into()));
        }
        let refusal: Refusal = answer.json().await.unwrap_or_default();
        Err(match refusal.error.as_str() {
            "invalid_grant" => TokenError::GrantRevoked,
            _ => TokenError::Refused {
                reason: word(&refusal.error, status.as_u16()),
            },
        })
    }
}

/// OAuth's errors are words of lower-case letters; anything else is not repeated.
fn word(error: &str, status: u16) -> String {
    let is_word = !error.is_empty() && error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_word {
        error.to_owned()
    } else {
        format!("status {status}")
    }
}

fn unavailable(error: reqwest::Error) -> TokenError {
    TokenError::Unavailable(error.without_url().into())
}
