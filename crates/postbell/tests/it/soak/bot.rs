//! A bot's webhook, which outlives its machine's processes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use postbell_sandbox::schema_violation;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// A mail whose subject begins so is refused, alone and in a batch.
pub(crate) const POISON: &str = "poison";

/// What the bot has accepted: a message, and the idempotency key of its call.
#[derive(Clone)]
pub(crate) struct Accepted {
    pub(crate) id: String,
    pub(crate) key: String,
}

#[derive(Default)]
struct Records {
    accepted: Mutex<Vec<Accepted>>,
    violations: Mutex<Vec<String>>,
    /// Of a hundred calls, how many go wrong.
    trouble: Mutex<u8>,
}

/// A bot at a port of its own.
pub(crate) struct Bot {
    records: Arc<Records>,
    pub(crate) port: u16,
    _serving: JoinSet<()>,
}

impl Bot {
    pub(crate) async fn start() -> Self {
        let records = Arc::new(Records::default());
        let router = Router::new()
            .route("/hooks/gmail", post(accept))
            .with_state(Arc::clone(&records));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            records,
            port,
            _serving: serving,
        }
    }

    pub(crate) fn accepted(&self) -> Vec<Accepted> {
        assert_eq!(*self.records.violations.lock(), Vec::<String>::new());
        self.records.accepted.lock().clone()
    }

    /// Sets how many of a hundred calls go wrong.
    pub(crate) fn set_trouble(&self, percent: u8) {
        *self.records.trouble.lock() = percent;
    }
}

async fn accept(State(bot): State<Arc<Records>>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    bot.violations.lock().extend(schema_violation(&body));
    let messages = body["messages"].as_array().unwrap();
    let text = |message: &Value, field: &str| message[field].as_str().unwrap().to_owned();
    let trouble = *bot.trouble.lock();
    let is_troubled = fastrand::u8(0..100) < trouble;
    let kind = if is_troubled { fastrand::u8(0..6) } else { 0 };
    match kind {
        1 => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        2 => return StatusCode::NOT_FOUND.into_response(),
        3 => {
            let wait = [(header::RETRY_AFTER, "1")];
            return (StatusCode::TOO_MANY_REQUESTS, wait).into_response();
        }
        4 => sleep(Duration::from_secs(2)).await,
        _ => (),
    }
    if messages
        .iter()
        .any(|it| text(it, "subject").starts_with(POISON))
    {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let key = headers["idempotency-key"].to_str().unwrap();
    let accepted = messages.iter().map(|message| Accepted {
        id: text(message, "id"),
        key: key.to_owned(),
    });
    bot.accepted.lock().extend(accepted);
    if kind == 5 {
        // The answer to an accepted call is lost.
        return StatusCode::BAD_GATEWAY.into_response();
    }
    StatusCode::OK.into_response()
}
