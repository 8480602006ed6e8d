//! Access tokens (<https://developers.google.com/identity/protocols/oauth2>).

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{BoxError, Clock};
use postbell_http::read_response;
use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use url::Url;

use crate::credentials::Credentials;

/// How long before its end a token is replaced: it must outlive the request that it is sent with.
const MARGIN: Duration = Duration::from_secs(120);

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer: a few tokens.
const LONGEST_ANSWER: usize = 256 * 1024;

/// How long a grant that was taken back is not asked for again, however many mails come.
const REVOKED_PAUSE: Duration = Duration::from_secs(60);

/// Gives access tokens, and keeps each until shortly before its end.
pub struct TokenSource {
    client: Client,
    url: Url,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    /// Held while refreshing, so that many calls at once cost one request.
    kept: Mutex<Kept>,
}

enum Kept {
    Nothing,
    Token {
        token: SecretString,
        expires_at: Duration,
    },
    /// Google has said no, which only a person can change.
    GrantRevoked {
        ask_again_at: Duration,
    },
}

/// Why there is no access token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The user took the grant back, or it ended: only the user's consent gives a new one.
    #[error("the grant has been revoked or has expired: connect the google account again")]
    GrantRevoked,

    /// The service account may not act for the mailbox: the domain's administrator gives it leave.
    #[error(
        "the service account may not act for this mailbox: delegate domain-wide authority to it for \
         https://www.googleapis.com/auth/gmail.readonly"
    )]
    NotDelegated,

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
    /// Tokens for `credentials` from the endpoint at `url`. Asks nothing yet.
    #[must_use]
    pub fn new(
        client: Client,
        url: Url,
        credentials: impl Into<Credentials>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            client,
            url,
            credentials: credentials.into(),
            clock,
            kept: Mutex::new(Kept::Nothing),
        }
    }

    /// The same with a token that is there already, for so long. Credentials that are a token
    /// themselves, [`Credentials::AccessToken`], need none.
    #[must_use]
    pub fn with_token(self, token: SecretString, expires_in: Duration) -> Self {
        let expires_at = self.clock.elapsed() + expires_in.saturating_sub(MARGIN);
        let kept = Mutex::new(Kept::Token { token, expires_at });
        Self { kept, ..self }
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
        match &*kept {
            Kept::Token { token, expires_at } if now < *expires_at => return Ok(token.clone()),
            Kept::GrantRevoked { ask_again_at } if now < *ask_again_at => {
                return Err(TokenError::GrantRevoked);
            }
            _ => (),
        }
        let answer = self.refresh().await;
        if let Err(TokenError::GrantRevoked) = answer {
            let ask_again_at = now + REVOKED_PAUSE;
            *kept = Kept::GrantRevoked { ask_again_at };
        }
        let answer = answer?;
        let life = Duration::from_secs(answer.expires_in).saturating_sub(MARGIN);
        *kept = Kept::Token {
            token: answer.access_token.clone(),
            expires_at: now + life,
        };
        Ok(answer.access_token)
    }

    /// Forgets a token that was refused, so that the next call asks for a new one.
    pub async fn forget(&self, refused: &SecretString) {
        let mut kept = self.kept.lock().await;
        if let Kept::Token { token, .. } = &*kept
            && token.expose_secret() == refused.expose_secret()
        {
            *kept = Kept::Nothing;
        }
    }

    async fn refresh(&self) -> Result<Answer, TokenError> {
        let request = self.client.post(self.url.clone()).timeout(TIMEOUT);
        let request = match &self.credentials {
            Credentials::AccessToken(token) => {
                return Ok(Answer {
                    access_token: token.clone(),
                    expires_in: 0,
                });
            }
            Credentials::AuthorizedUser(user) => request.form(&[
                ("grant_type", "refresh_token"),
                ("client_id", &user.client_id),
                ("client_secret", user.client_secret.expose_secret()),
                ("refresh_token", user.refresh_token.expose_secret()),
            ]),
            Credentials::ServiceAccount(account) => {
                let assertion = account.assertion(self.url.as_str(), self.clock.now());
                let assertion = assertion.ok_or_else(|| TokenError::Refused {
                    reason: "the key of the service account does not sign".to_owned(),
                })?;
                let grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                request.form(&[
                    ("grant_type", grant_type),
                    ("assertion", assertion.expose_secret()),
                ])
            }
        };
        match (judge(request).await, &self.credentials) {
            (Err(TokenError::GrantRevoked), Credentials::ServiceAccount(_)) => {
                Err(TokenError::NotDelegated)
            }
            (Err(TokenError::Refused { reason }), Credentials::ServiceAccount(_))
                if reason == "unauthorized_client" =>
            {
                Err(TokenError::NotDelegated)
            }
            (outcome, _) => outcome,
        }
    }
}

/// Sends a request to a token endpoint, and says what a refusal means.
pub(crate) async fn judge<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, TokenError> {
    let answer = request.send().await.map_err(unavailable)?;
    let status = answer.status();
    let read = read_response(answer, LONGEST_ANSWER).await;
    if status.is_success() {
        let unreadable = |_| TokenError::Unavailable("its answer cannot be read".into());
        let read = read.map_err(|error| TokenError::Unavailable(error.into()))?;
        return serde_json::from_slice(&read).map_err(unreadable);
    }
    if status.is_server_error() || status.as_u16() == 429 {
        let problem = format!("it answered {}", status.as_u16());
        return Err(TokenError::Unavailable(problem.into()));
    }
    let read = read.unwrap_or_default();
    let refusal: Refusal = serde_json::from_slice(&read).unwrap_or_default();
    Err(match refusal.error.as_str() {
        "invalid_grant" => TokenError::GrantRevoked,
        error => TokenError::Refused {
            reason: word(error, status.as_u16()),
        },
    })
}

/// Takes a grant back, at the endpoint `url`: whoever holds it gets no more access tokens. Google
/// takes all that was granted to the client's project
/// (<https://developers.google.com/identity/protocols/oauth2/native-app#tokenrevoke>).
///
/// # Errors
///
/// [`TokenError`]; a grant that is gone already is none.
pub async fn revoke_grant(
    client: &Client,
    url: &Url,
    refresh_token: &SecretString,
) -> Result<(), TokenError> {
    let request = client.post(url.clone()).timeout(TIMEOUT);
    let request = request.form(&[("token", refresh_token.expose_secret())]);
    let answer = request.send().await.map_err(unavailable)?;
    match answer.status().as_u16() {
        200..=299 | 400 => Ok(()),
        status @ (429 | 500..) => Err(TokenError::Unavailable(
            format!("it answered {status}").into(),
        )),
        status => Err(TokenError::Refused {
            reason: format!("status {status}"),
        }),
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
