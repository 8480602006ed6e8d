//! One push over HTTP: body, token and evaluation of the answer.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tracing::debug;

use super::backlog::Leased;
use super::subscription::{PushConfig, Subscription};
use crate::Sandbox;
use crate::oauth::IdTokenClaims;

/// Status codes that acknowledge. All others refuse, other 2xx included.
const ACKNOWLEDGING: [u16; 5] = [102, 200, 201, 202, 204];

/// A message and its push endpoint.
pub(super) struct Pushed<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) subscription: &'a Subscription,
    pub(super) config: PushConfig,
}

impl Pushed<'_> {
    /// Sends once, and returns whether the answer acknowledges. Sends nothing while Pub/Sub may not
    /// sign as the configured service account.
    pub(super) async fn send(&self, leased: &Leased) -> bool {
        let account = self.config.service_account.as_deref();
        let project = self.subscription.project();
        if account.is_some_and(|account| !self.sandbox.cloud().may_sign(project, account)) {
            debug!("Pub/Sub may not sign as the service account");
            return false;
        }
        let request = self
            .sandbox
            .client()
            .post(&self.config.endpoint)
            .header("user-agent", "CloudPubSub-Google")
            .timeout(self.subscription.ack_deadline());
        let request = match self.token() {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        match self.with_body(request, leased).send().await {
            Ok(answer) => is_acknowledging(answer.status()),
            Err(error) => {
                debug!(error = %error.without_url(), "A push got no answer");
                false
            }
        }
    }

    /// A token of the configured service account, if any. The default audience is the endpoint.
    fn token(&self) -> Option<String> {
        let account = self.config.service_account.as_deref()?;
        let audience = self
            .config
            .audience
            .as_deref()
            .unwrap_or(&self.config.endpoint);
        let now = self.sandbox.clock().now_seconds();
        Some(
            self.sandbox
                .push_tokens()
                .token(account, audience, now, || {
                    self.sandbox
                        .oauth()
                        .id_token(&IdTokenClaims::of(account, audience, now))
                }),
        )
    }

    fn with_body(&self, request: RequestBuilder, leased: &Leased) -> RequestBuilder {
        if !self.config.is_unwrapped {
            let body = self.wrapped(leased).to_string();
            return request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let message = &leased.message;
        let data = BASE64_STANDARD.decode(&message.data).unwrap_or_default();
        if !self.config.writes_metadata {
            return request.body(data);
        }
        request
            .header("x-goog-pubsub-subscription-name", &self.subscription.name)
            .header("x-goog-pubsub-message-id", &message.id)
            .header("x-goog-pubsub-publish-time", &message.published_at)
            .body(data)
    }

    /// Google sends both spellings.
    fn wrapped(&self, leased: &Leased) -> Value {
        let message = &leased.message;
        let mut wrapped = json!({
            "data": message.data,
            "messageId": message.id,
            "message_id": message.id,
            "publishTime": message.published_at,
            "publish_time": message.published_at,
        });
        if !message.attributes.is_empty() {
            wrapped["attributes"] = json!(message.attributes);
        }
        if !message.ordering_key.is_empty() {
            wrapped["orderingKey"] = message.ordering_key.clone().into();
        }
        let mut body = json!({ "message": wrapped, "subscription": self.subscription.name });
        if self.config.counts_attempts {
            body["deliveryAttempt"] = leased.attempts.into();
        }
        body
    }
}

fn is_acknowledging(status: StatusCode) -> bool {
    ACKNOWLEDGING.contains(&status.as_u16())
}
