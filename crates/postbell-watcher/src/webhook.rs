//! The bot's webhook.

use std::time::Duration;

use postbell_core::{BoxError, Timestamp, TraceContext};
use postbell_http::{TRACEPARENT, request_problem, retry_after};
use postbell_protocol::routes::IDEMPOTENCY_KEY;
use postbell_protocol::webhook::{SigningKeys, WebhookPayload};
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
    pub signing: Option<SigningKeys>,
}

/// Why the webhook did not accept a request.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The bot answered another status than 2xx.
    #[error("the hook answered {status}{}", missing_secret(*.status, *.has_secret))]
    Refused {
        /// The status.
        status: u16,
        /// Whether the request had a token or a signature.
        has_secret: bool,
        /// How long the bot asks to wait, if it does.
        retry_after: Option<Duration>,
    },

    /// The bot answered 410: it never wants another request.
    #[error("the hook answered 410: the bot takes no more mail there")]
    Gone,

    /// The bot did not answer.
    #[error("the hook cannot be reached")]
    Unreachable(#[source] BoxError),
}

/// Names what a webhook may miss that refuses a request.
const fn missing_secret(status: u16, has_secret: bool) -> &'static str {
    match status {
        401 | 403 if !has_secret => {
            ", and neither a token nor a signing secret is set (POSTBELL_WATCH_HOOK_TOKEN, POSTBELL_WATCH_HOOK_SECRET)"
        }
        _ => "",
    }
}

/// What a failed request says about its content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Blame {
    /// Nothing: the webhook is failing.
    Webhook,
    /// The request was too large.
    Size,
    /// The webhook does not accept a message in it.
    Content,
}

impl WebhookError {
    /// What the failure says about the request's content. 401, 403 and 404 are about the token and
    /// the URL, 408, 409 and 429 about the time.
    pub(crate) fn blame(&self) -> Blame {
        match self {
            Self::Refused { status: 413, .. } => Blame::Size,
            Self::Refused {
                status: 401 | 403 | 404 | 408 | 409 | 429,
                ..
            } => Blame::Webhook,
            Self::Refused {
                status: 400..=499, ..
            } => Blame::Content,
            _ => Blame::Webhook,
        }
    }

    /// How long the bot asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl WebhookClient {
    /// Posts once under an idempotency key. Only a 2xx is a success.
    pub(crate) async fn post_batch(
        &self,
        payload: &WebhookPayload<'_>,
        key: &str,
        trace: TraceContext,
        now: Timestamp,
    ) -> Result<(), WebhookError> {
        let body =
            serde_json::to_vec(payload).map_err(|error| WebhookError::Unreachable(error.into()))?;
        self.post(body, key, Some(trace), now).await
    }

    /// Posts a body, as [`WebhookClient::post_batch`] does.
    pub(crate) async fn post(
        &self,
        body: Vec<u8>,
        key: &str,
        trace: Option<TraceContext>,
        now: Timestamp,
    ) -> Result<(), WebhookError> {
        let mut request = self
            .client
            .post(self.url.clone())
            .timeout(TIMEOUT)
            .header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, key);
        if let Some(trace) = trace {
            request = request.header(TRACEPARENT, trace.to_string());
        }
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
            answer.map_err(|error| WebhookError::Unreachable(request_problem(&error).into()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::GONE => Err(WebhookError::Gone),
            status => Err(WebhookError::Refused {
                status: status.as_u16(),
                has_secret: self.token.is_some() || self.signing.is_some(),
                retry_after: retry_after(answer.headers(), now),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_refusals_blame_the_content() {
        for (status, expected) in [
            (301, Blame::Webhook),
            (400, Blame::Content),
            (401, Blame::Webhook),
            (403, Blame::Webhook),
            (404, Blame::Webhook),
            (408, Blame::Webhook),
            (409, Blame::Webhook),
            (413, Blame::Size),
            (415, Blame::Content),
            (422, Blame::Content),
            (429, Blame::Webhook),
            (500, Blame::Webhook),
            (503, Blame::Webhook),
        ] {
            let retry_after = None;
            let refused = WebhookError::Refused {
                status,
                has_secret: false,
                retry_after,
            };
            assert_eq!(refused.blame(), expected, "{status}");
        }
        assert_eq!(WebhookError::Gone.blame(), Blame::Webhook);
    }

    #[test]
    fn a_webhook_that_refuses_a_request_without_a_token_is_told_from_others() {
        for (status, has_secret, is_missing) in [
            (401, false, true),
            (403, false, true),
            (401, true, false),
            (500, false, false),
        ] {
            let refused = WebhookError::Refused {
                status,
                has_secret,
                retry_after: None,
            };
            let text = refused.to_string();
            assert_eq!(
                text.contains("POSTBELL_WATCH_HOOK_TOKEN"),
                is_missing,
                "{text}"
            );
        }
    }
}
