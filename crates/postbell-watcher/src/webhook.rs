//! The bot's webhook.

use std::time::Duration;

use postbell_core::{BoxError, Timestamp};
use postbell_protocol::routes::IDEMPOTENCY_KEY;
use postbell_protocol::webhook::{SigningKey, WebhookPayload};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// The timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Posts messages to the bot's webhook.
#[derive(Clone, Debug)]
pub struct WebhookClient {
    /// Must not follow redirects, which would send mail elsewhere.
    pub client: Client,
    /// The webhook's URL.
    pub url: Url,
    /// The bearer token, if the bot expects one.
    pub token: Option<SecretString>,
    /// Signs each request, if the bot verifies signatures.
    pub signing: Option<SigningKey>,
}

/// Why the webhook did not accept a request.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The bot answered another status than 2xx.
    #[error("the hook answered {status}")]
    Refused {
        /// The status.
        status: u16,
    },

    /// The bot answered 410: it never wants another request.
    #[error("the hook answered 410: the bot takes no more mail there")]
    Gone,

    /// The bot did not answer.
    #[error("the hook cannot be reached")]
    Unreachable(#[source] BoxError),
}

impl WebhookClient {
    /// Posts once under an idempotency key. Only a 2xx is a success.
    pub(crate) async fn post_batch(
        &self,
        payload: &WebhookPayload<'_>,
        key: &str,
        now: Timestamp,
    ) -> Result<(), WebhookError> {
        let body =
            serde_json::to_vec(payload).map_err(|error| WebhookError::Unreachable(error.into()))?;
        let mut request = self
            .client
            .post(self.url.clone())
            .timeout(TIMEOUT)
            .header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, key);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(signing) = &self.signing {
            for (name, value) in signing.headers(key, now, &body) {
                request = request.header(name, value);
            }
        }
        let answer = request.body(body).send().await;
        let answer =
            answer.map_err(|error| WebhookError::Unreachable(error.without_url().into()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::GONE => Err(WebhookError::Gone),
            status => Err(WebhookError::Refused {
                status: status.as_u16(),
            }),
        }
    }
}
