//! Access tokens (<https://developers.google.com/identity/protocols/oauth2>).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postbell_core::{BoxError, Clock, Timestamp};
use postbell_http::{read_error, read_response, retry_after};
use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use url::Url;

use crate::credentials::Credentials;

/// How long before its expiry a token is replaced: it must outlive the request.
const MARGIN: Duration = Duration::from_secs(120);

/// The timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest response: a few tokens.
const LONGEST_ANSWER: usize = 256 * 1024;

/// The longest pause, even if Google asks for more.
const LONGEST_HOLD: Duration = Duration::from_secs(10 * 60);

/// How long a revoked grant is not used again.
const REVOKED_PAUSE: Duration = Duration::from_secs(60);

/// Issues access tokens, and caches each until shortly before its expiry.
pub struct TokenSource {
    client: Client,
    url: Url,
    /// Locked during a refresh, so that concurrent calls cause one request.
    kept: Mutex<Kept>,
    credentials: parking_lot::Mutex<Arc<Credentials>>,
    stored: Option<Arc<Stored>>,
    /// Whether Google has refused the credentials.
    is_refused: AtomicBool,
    /// The stored credentials that [`has_new_stored`](Self::has_new_stored) has noticed last.
    noticed: parking_lot::Mutex<Option<Credentials>>,
    clock: Arc<dyn Clock>,
}

/// Reads the stored credentials again. May block.
type Stored = dyn Fn() -> Option<Credentials> + Send + Sync;

enum Kept {
    Nothing,
    Token {
        token: SecretString,
        expires_at: Duration,
    },
    /// Google has refused until a person acts.
    GrantRevoked {
        ask_again_at: Duration,
    },
    /// Google asked for a pause.
    Held {
        ask_again_at: Duration,
    },
}

/// Why there is no access token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The grant was revoked or has expired: only the user's consent gives a new one.
    #[error("the grant has been revoked or has expired: connect the google account again")]
    GrantRevoked,

    /// The service account may not act for the mailbox until the domain's administrator permits it.
    #[error(
        "the service account may not act for this mailbox: delegate domain-wide authority to it for \
         https://www.googleapis.com/auth/gmail.readonly"
    )]
    NotDelegated,

    /// Google refuses this client. An operator must act.
    #[error("google refused the oauth client ({reason})")]
    Refused {
        /// Google's error code, such as `invalid_client`.
        reason: String,
    },

    /// Google is unavailable. A repeat may succeed.
    #[error("google's token endpoint cannot be reached")]
    Unavailable {
        /// How long Google asks to wait, if it says so.
        retry_after: Option<Duration>,
        /// What happened.
        source: BoxError,
    },
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
    /// Tokens for `credentials` from the endpoint `url`. Sends nothing yet.
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
            kept: Mutex::new(Kept::Nothing),
            credentials: parking_lot::Mutex::new(Arc::new(credentials.into())),
            stored: None,
            is_refused: AtomicBool::new(false),
            noticed: parking_lot::Mutex::default(),
            clock,
        }
    }

    /// Adds an existing token with its remaining lifetime. [`Credentials::AccessToken`] needs none.
    #[must_use]
    pub fn with_token(self, token: SecretString, expires_in: Duration) -> Self {
        let expires_at = self.clock.elapsed() + expires_in.saturating_sub(MARGIN);
        let kept = Mutex::new(Kept::Token { token, expires_at });
        Self { kept, ..self }
    }

    /// Lets [`of_stored`](Self::of_stored) find the credentials that `stored` reads.
    #[must_use]
    pub fn with_stored(
        self,
        stored: impl Fn() -> Option<Credentials> + Send + Sync + 'static,
    ) -> Self {
        Self {
            stored: Some(Arc::new(stored)),
            ..self
        }
    }

    /// Whether other credentials were stored since Google has refused the present ones. Says so once of each.
    pub async fn has_new_stored(&self) -> bool {
        let Some(other) = self.other_stored().await else {
            return false;
        };
        let mut noticed = self.noticed.lock();
        let is_new = noticed
            .as_ref()
            .is_none_or(|noticed| !noticed.is_same(&other));
        *noticed = Some(other);
        is_new
    }

    /// A source for the credentials that are stored now, if Google has refused the present ones and these are others. They may
    /// open another mailbox.
    pub async fn of_stored(&self) -> Option<Self> {
        let other = self.other_stored().await?;
        let (client, url) = (self.client.clone(), self.url.clone());
        Some(Self::new(client, url, other, Arc::clone(&self.clock)))
    }

    /// Takes over the credentials of another source.
    pub async fn adopt(&self, other: &Self) {
        let mut kept = self.kept.lock().await;
        *self.credentials.lock() = Arc::clone(&other.credentials.lock());
        *kept = Kept::Nothing;
        self.is_refused.store(false, Ordering::Relaxed);
    }

    async fn other_stored(&self) -> Option<Credentials> {
        if !self.is_refused.load(Ordering::Relaxed) {
            return None;
        }
        let stored = Arc::clone(self.stored.as_ref()?);
        let stored = spawn_blocking(move || stored()).await.ok()??;
        let is_other = !stored.is_same(&self.credentials.lock());
        is_other.then_some(stored)
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Returns a token that is valid for some time.
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
            Kept::Held { ask_again_at } if now < *ask_again_at => {
                return Err(TokenError::Unavailable {
                    retry_after: Some(*ask_again_at - now),
                    source: "it asked for a pause".into(),
                });
            }
            _ => (),
        }
        let answer = self.refresh().await;
        let is_refused = answer.as_ref().is_err_and(TokenError::is_of_credentials);
        self.is_refused.store(is_refused, Ordering::Relaxed);
        match &answer {
            Err(TokenError::GrantRevoked) => {
                let ask_again_at = now + REVOKED_PAUSE;
                *kept = Kept::GrantRevoked { ask_again_at };
            }
            Err(TokenError::Unavailable {
                retry_after: Some(wait),
                ..
            }) => {
                let ask_again_at = now + LONGEST_HOLD.min(*wait);
                *kept = Kept::Held { ask_again_at };
            }
            _ => (),
        }
        let answer = answer?;
        let life = Duration::from_secs(answer.expires_in).saturating_sub(MARGIN);
        *kept = Kept::Token {
            token: answer.access_token.clone(),
            expires_at: now + life,
        };
        Ok(answer.access_token)
    }

    /// Drops a refused token, so that the next call requests a new one.
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
        let credentials = Arc::clone(&self.credentials.lock());
        let request = match &*credentials {
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
        match (judge(request, self.clock.now()).await, &*credentials) {
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

/// Sends a request to a token endpoint, and classifies a refusal.
pub(crate) async fn judge<T: DeserializeOwned>(
    request: RequestBuilder,
    now: Timestamp,
) -> Result<T, TokenError> {
    let answer = request.send().await.map_err(unavailable)?;
    let status = answer.status();
    if status.is_success() {
        let read = read_response(answer, LONGEST_ANSWER).await;
        let read = read.map_err(TokenError::unavailable)?;
        let unreadable = |_| TokenError::unavailable("its answer cannot be read");
        return serde_json::from_slice(&read).map_err(unreadable);
    }
    if status.is_server_error() || status.as_u16() == 429 {
        return Err(TokenError::Unavailable {
            retry_after: retry_after(answer.headers(), now),
            source: format!("it answered {}", status.as_u16()).into(),
        });
    }
    let read = read_error(answer).await;
    let refusal: Refusal = serde_json::from_slice(&read).unwrap_or_default();
    Err(match refusal.error.as_str() {
        "invalid_grant" => TokenError::GrantRevoked,
        error => TokenError::Refused {
            reason: word(error, status.as_u16()),
        },
    })
}

/// Revokes a grant at the endpoint `url`. Google revokes everything that was granted to the
/// client's project
/// (<https://developers.google.com/identity/protocols/oauth2/native-app#tokenrevoke>).
///
/// # Errors
///
/// [`TokenError`]; an already revoked grant is not an error.
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
        status @ (429 | 500..) => Err(TokenError::unavailable(format!("it answered {status}"))),
        status => Err(TokenError::Refused {
            reason: format!("status {status}"),
        }),
    }
}

/// Returns an OAuth error code, which consists of lower-case letters; any other text is replaced.
fn word(error: &str, status: u16) -> String {
    let is_word = !error.is_empty() && error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_word {
        error.to_owned()
    } else {
        format!("status {status}")
    }
}

impl TokenError {
    /// Whether only other credentials help.
    fn is_of_credentials(&self) -> bool {
        match self {
            Self::GrantRevoked | Self::NotDelegated | Self::Refused { .. } => true,
            Self::Unavailable { .. } => false,
        }
    }

    fn unavailable(source: impl Into<BoxError>) -> Self {
        Self::Unavailable {
            retry_after: None,
            source: source.into(),
        }
    }
}

fn unavailable(error: reqwest::Error) -> TokenError {
    TokenError::unavailable(error.without_url())
}
