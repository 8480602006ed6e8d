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
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::rng::random_hex;

/// A bot that records webhook calls.
#[derive(Debug)]
pub struct Bot {
    url: String,
    token: String,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
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
    #[must_use]
    pub fn hooks(&self) -> Vec<Hook> {
        self.records.lock().hooks.clone()
    }

    /// Clears the recorded webhook calls.
    pub fn forget(&self) {
        self.records.lock().hooks.clear();
    }

    /// Subscribes to webhook calls accepted from now on.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Hook> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.records.lock().listeners.push(sender);
        receiver
    }

    fn record(&self, hook: Hook) {
        let mut records = self.records.lock();
        records
            .listeners
            .retain(|listener| listener.send(hook.clone()).is_ok());
        records.hooks.push(hook);
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
    let Ok(body) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, "expected JSON").into_response();
    };
    let header = |name| Some(headers.get(name)?.to_str().ok()?.to_owned());
    bot.record(Hook {
        body,
        idempotency_key: header("idempotency-key"),
        signature: header("webhook-signature"),
        at,
    });
    Json(json!({ "ok": true })).into_response()
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
