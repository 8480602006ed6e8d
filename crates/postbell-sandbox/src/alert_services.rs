//! Stand-ins for the services that take alerts: a webhook of one's own, ntfy, Slack, Mattermost, Discord
//! and Telegram. They have a listener of their own, refuse what the real ones refuse, and misbehave on
//! command.
//!
//! Written from <https://docs.ntfy.sh/publish/>,
//! <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>,
//! <https://developers.mattermost.com/integrate/webhooks/incoming/>,
//! <https://discord.com/developers/docs/resources/webhook#execute-webhook> and
//! <https://core.telegram.org/bots/api#sendmessage>.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::server::serve;

/// The longest messages, in characters.
const DISCORD_CHARS: usize = 2_000;
const TELEGRAM_CHARS: usize = 4_096;

/// The longest message of ntfy, in bytes.
const NTFY_BYTES: usize = 4_096;

/// The services, on one listener until dropped.
#[derive(Debug)]
pub struct AlertServices {
    url: String,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Vec<ReceivedAlert>>,
    number: watch::Sender<usize>,
    requests: watch::Sender<usize>,
    misbehaviours: Mutex<VecDeque<Misbehaviour>>,
}

/// An alert that a service accepted.
#[derive(Clone, Debug)]
pub struct ReceivedAlert {
    /// The service.
    pub service: &'static str,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
    /// The body as JSON.
    pub json: Value,
}

/// How the next request is answered, instead of being accepted.
#[derive(Clone, Debug)]
pub enum Misbehaviour {
    /// With a status, and the wait that the service asks for.
    Refuse {
        /// The status.
        status: u16,
        /// Seconds.
        retry_after: Option<u64>,
    },
    /// Not at all.
    Hang,
    /// By a redirect.
    Redirect(String),
}

impl AlertServices {
    /// Serves on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// If no port can be bound.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::<Shared>::default();
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let router = router(Arc::clone(&shared));
        tasks.spawn(serve(listener, router, tasks.clone(), stop.clone()));
        Ok(Self { url, shared, stop })
    }

    /// The base URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// All accepted alerts, in order.
    #[must_use]
    pub fn received(&self) -> Vec<ReceivedAlert> {
        self.shared.received.lock().clone()
    }

    /// Waits until `number` alerts were accepted, and returns them.
    pub async fn wait_for(&self, number: usize) -> Vec<ReceivedAlert> {
        let mut accepted = self.shared.number.subscribe();
        let _never_closed = accepted.wait_for(|accepted| *accepted >= number).await;
        self.received()
    }

    /// Waits until `number` requests have come, accepted or not.
    pub async fn wait_for_requests(&self, number: usize) {
        let mut requests = self.shared.requests.subscribe();
        let _never_closed = requests.wait_for(|requests| *requests >= number).await;
    }

    /// Answers one of the next requests otherwise. Several calls queue up.
    pub fn misbehave(&self, how: Misbehaviour) {
        self.shared.misbehaviours.lock().push_back(how);
    }
}

impl Drop for AlertServices {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/alerts", post(webhook))
        .route("/", post(ntfy))
        .route("/services/{team}/{bot}/{secret}", post(slack))
        .route("/hooks/{id}", post(mattermost))
        .route("/api/webhooks/{id}/{token}", post(discord))
        .route("/{bot}/sendMessage", post(telegram))
        .with_state(shared)
}

async fn webhook(state: State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    state
        .answer("webhook", headers, body, |_| {
            Ok(StatusCode::NO_CONTENT.into_response())
        })
        .await
}

async fn ntfy(state: State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let authorization = headers.get(AUTHORIZATION).cloned();
    state
        .answer("ntfy", headers, body, |json| {
            let topic = text(json, "topic", 64)?;
            let message = text(json, "message", NTFY_BYTES)?;
            if message.len() > NTFY_BYTES {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            let is_protected = topic.starts_with("protected");
            let allowed = ["Bearer tk_right", "Basic YW5uOnJpZ2h0"];
            let shown = authorization.as_ref().and_then(|it| it.to_str().ok());
            if is_protected && !shown.is_some_and(|shown| allowed.contains(&shown)) {
                return Err(StatusCode::FORBIDDEN);
            }
            let priority = json["priority"].as_u64().unwrap_or(3);
            if !(1..=5).contains(&priority) {
                return Err(StatusCode::BAD_REQUEST);
            }
            Ok(Json(json!({ "id": "1", "event": "message", "topic": topic })).into_response())
        })
        .await
}

async fn slack(state: State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    state
        .answer("slack", headers, body, |json| {
            text(json, "text", 40_000)?;
            Ok("ok".into_response())
        })
        .await
}

async fn mattermost(state: State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    state
        .answer("mattermost", headers, body, |json| {
            text(json, "text", 16_383)?;
            Ok("ok".into_response())
        })
        .await
}

async fn discord(state: State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    state
        .answer("discord", headers, body, |json| {
            text(json, "content", DISCORD_CHARS)?;
            Ok(StatusCode::NO_CONTENT.into_response())
        })
        .await
}

async fn telegram(
    state: State<Arc<Shared>>,
    Path(bot): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let token = bot.strip_prefix("bot").map(str::to_owned);
    state
        .answer("telegram", headers, body, |json| {
            if !token.is_some_and(|token| token.contains(':')) {
                return Err(StatusCode::UNAUTHORIZED);
            }
            text(json, "chat_id", 64)?;
            text(json, "text", TELEGRAM_CHARS)?;
            Ok(Json(json!({ "ok": true, "result": {} })).into_response())
        })
        .await
}

/// A field that must be a text of 1 to `most` characters.
fn text<'a>(json: &'a Value, field: &str, most: usize) -> Result<&'a str, StatusCode> {
    let text = json[field].as_str();
    let fits = |text: &&str| (1..=most).contains(&text.chars().count());
    text.filter(fits).ok_or(StatusCode::BAD_REQUEST)
}

impl Shared {
    async fn answer(
        &self,
        service: &'static str,
        headers: HeaderMap,
        body: Bytes,
        check: impl FnOnce(&Value) -> Result<Response, StatusCode>,
    ) -> Response {
        self.requests.send_modify(|number| *number += 1);
        let misbehaviour = self.misbehaviours.lock().pop_front();
        match misbehaviour {
            Some(Misbehaviour::Hang) => return std::future::pending().await,
            Some(Misbehaviour::Redirect(to)) => {
                return (StatusCode::FOUND, [(LOCATION, to)]).into_response();
            }
            Some(Misbehaviour::Refuse {
                status,
                retry_after,
            }) => return refusal(service, status, retry_after),
            None => (),
        }
        let Ok(json) = serde_json::from_slice(&body) else {
            return refusal(service, 400, None);
        };
        match check(&json) {
            Ok(answer) => {
                self.received.lock().push(ReceivedAlert {
                    service,
                    headers,
                    body,
                    json,
                });
                self.number.send_modify(|number| *number += 1);
                answer
            }
            Err(status) => refusal(service, status.as_u16(), None),
        }
    }
}

/// A refusal as the service words it. Telegram says the wait in the body only.
fn refusal(service: &str, status: u16, retry_after: Option<u64>) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = match service {
        "telegram" => json!({
            "ok": false, "error_code": status, "description": "refused",
            "parameters": { "retry_after": retry_after },
        }),
        "discord" => json!({ "message": "refused", "retry_after": retry_after, "global": false }),
        "ntfy" => json!({ "code": u32::from(status) * 100, "http": status, "error": "refused" }),
        _ => json!("refused"),
    };
    let mut answer = (code, Json(body)).into_response();
    if let Some(seconds) = retry_after.filter(|_| service != "telegram") {
        let value = HeaderValue::from(seconds);
        answer.headers_mut().insert(RETRY_AFTER, value);
    }
    answer
}
