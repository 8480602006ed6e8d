//! A bot that records webhook calls.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::rng::random_hex;
use crate::webhook_schema::schema_violation;

/// A bot that records webhook calls.
#[derive(Debug)]
pub struct Bot {
    url: String,
    token: String,
    records: Mutex<Records>,
}

/// What a bot does not accept.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct BotPolicy {
    /// The largest body, in bytes. A larger one is answered 413.
    pub max_bytes: Option<usize>,
    /// Refuses every call with a mail whose subject contains this text.
    pub refuse_subject: Option<String>,
    /// The status of that refusal; 400 if there is none.
    pub refuse_status: Option<u16>,
}

impl BotPolicy {
    /// The status of a refusal, or `None` if a body is accepted.
    fn refusal(&self, length: usize, body: &Value) -> Option<StatusCode> {
        if self.max_bytes.is_some_and(|max| length > max) {
            return Some(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let text = self.refuse_subject.as_ref()?;
        let mut mails = body["messages"].as_array()?.iter();
        let subject = |mail: &Value| mail["subject"].as_str().is_some_and(|it| it.contains(text));
        let status = self.refuse_status.unwrap_or(400);
        mails
            .any(subject)
            .then(|| StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST))
    }
}

#[derive(Debug, Default)]
struct Records {
    policy: BotPolicy,
    refused: usize,
    /// What the first call violated that did not match the schema.
    violation: Option<String>,
    hooks: Vec<Hook>,
    listeners: Vec<mpsc::UnboundedSender<Hook>>,
}

/// An accepted webhook call.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The body.
    pub body: Value,
    /// The `Idempotency-Key` header.
    pub idempotency_key: Option<String>,
    /// The `Webhook-Signature` header (Standard Webhooks).
    pub signature: Option<String>,
    /// The `traceparent` header (W3C Trace Context).
    pub traceparent: Option<String>,
    /// Time of arrival.
    pub at: Instant,
}

impl Bot {
    /// Creates a bot at `url` with a random token.
    pub(crate) fn new(url: String) -> Self {
        Self::with_token(url, random_hex(16))
    }

    /// Creates a bot with a given token.
    pub(crate) fn with_token(url: String, token: String) -> Self {
        Self {
            url,
            token,
            records: Mutex::default(),
        }
    }

    /// The webhook's URL.
    #[must_use]
    pub fn hook_url(&self) -> String {
        self.url.clone()
    }

    /// The webhook's bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// All accepted webhook calls, in order.
    ///
    /// # Panics
    ///
    /// If a call did not match the schema; only with the feature `schema`.
    #[must_use]
    pub fn hooks(&self) -> Vec<Hook> {
        let records = self.records.lock();
        if let Some(violation) = &records.violation {
            panic!("a webhook call does not match docs/webhook.schema.json: {violation}");
        }
        records.hooks.clone()
    }

    /// Clears the recorded webhook calls.
    pub fn forget(&self) {
        self.records.lock().hooks.clear();
    }

    /// Sets what the bot does not accept from now on.
    pub fn set_policy(&self, policy: BotPolicy) {
        self.records.lock().policy = policy;
    }

    /// How many webhook calls were refused by the policy.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.records.lock().refused
    }

    /// Subscribes to webhook calls accepted from now on.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Hook> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.records.lock().listeners.push(sender);
        receiver
    }

    /// Records a call, or returns the status with which the policy refuses it.
    fn record(&self, hook: Hook, length: usize) -> Option<StatusCode> {
        let mut records = self.records.lock();
        if let Some(violation) = schema_violation(&hook.body) {
            records.violation.get_or_insert(violation);
            // Who waits for a call must not wait for ever.
            records.listeners.clear();
            return Some(StatusCode::INTERNAL_SERVER_ERROR);
        }
        if let Some(status) = records.policy.refusal(length, &hook.body) {
            records.refused += 1;
            return Some(status);
        }
        records
            .listeners
            .retain(|listener| listener.send(hook.clone()).is_ok());
        records.hooks.push(hook);
        None
    }
}

pub(crate) async fn take_hook(
    State(bot): State<Arc<Bot>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let at = Instant::now();
    let shown = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if shown != Some(&format!("Bearer {}", bot.token)) {
        return (StatusCode::UNAUTHORIZED, "expected the bot's bearer token").into_response();
    }
    let length = body.len();
    let Ok(body) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, "expected JSON").into_response();
    };
    let header = |name| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let hook = Hook {
        body,
        idempotency_key: header("idempotency-key"),
        signature: header("webhook-signature"),
        traceparent: header("traceparent"),
        at,
    };
    match bot.record(hook, length) {
        None => Json(json!({ "ok": true })).into_response(),
        Some(status) => (status, Json(json!({ "ok": false }))).into_response(),
    }
}

/// Sets what the bot does not accept.
pub(crate) async fn set_policy(State(bot): State<Arc<Bot>>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(policy) => {
            bot.set_policy(policy);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// Lists recorded webhook calls.
pub(crate) async fn list_hooks(State(bot): State<Arc<Bot>>) -> Json<Value> {
    let hooks = bot.hooks().into_iter();
    let hooks: Vec<_> = hooks
        .map(|hook| json!({ "body": hook.body, "idempotencyKey": hook.idempotency_key }))
        .collect();
    Json(json!({ "hooks": hooks }))
}

/// Clears recorded webhook calls.
pub(crate) async fn forget_hooks(State(bot): State<Arc<Bot>>) -> StatusCode {
    bot.forget();
    StatusCode::NO_CONTENT
}
