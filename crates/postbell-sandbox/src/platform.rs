//! The user directory that a relay asks: KiloClaw's platform (protocol, section 2).

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Sandbox;
use crate::rng::random_hex;

/// The user directory that a relay asks.
#[derive(Debug)]
pub struct Platform {
    api_key: String,
    gateway_secret: String,
    instances: Mutex<BTreeMap<String, PlatformInstance>>,
}

/// A user and their machine.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformInstance {
    /// User id.
    pub user_id: String,
    /// Sandbox id, from which the machine's token is derived.
    pub sandbox_id: String,
    /// `provisioned`, `starting`, `running`, `stopped` or `destroying`.
    pub status: String,
    /// Name of the app on Fly.
    pub fly_app_name: String,
    /// Id of the machine on Fly.
    pub fly_machine_id: String,
    /// Whether a Google account is connected.
    pub google_connected: bool,
    /// Whether notifications are on.
    pub gmail_notifications_enabled: bool,
    /// Service account of the user's pushes.
    #[serde(default)]
    pub gmail_push_oidc_email: Option<String>,
    /// The user's mailbox.
    #[serde(default)]
    pub email: Option<String>,
    /// The greatest reported history id.
    #[serde(default)]
    pub gmail_last_history_id: Option<u64>,
}

type Answer = Result<Json<Value>, (StatusCode, Json<Value>)>;

impl Platform {
    pub(crate) fn new() -> Self {
        Self {
            api_key: random_hex(16),
            gateway_secret: random_hex(16),
            instances: Mutex::default(),
        }
    }

    /// Expected value of `x-internal-api-key`.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// Secret of the machines' tokens.
    #[must_use]
    pub fn gateway_secret(&self) -> &str {
        &self.gateway_secret
    }

    /// Adds or replaces a user.
    pub fn put(&self, instance: PlatformInstance) {
        self.instances
            .lock()
            .insert(instance.user_id.clone(), instance);
    }

    /// Removes a user.
    pub fn remove(&self, user_id: &str) {
        self.instances.lock().remove(user_id);
    }

    /// Changes a user's record, if it exists.
    pub fn update(&self, user_id: &str, change: impl FnOnce(&mut PlatformInstance)) {
        if let Some(instance) = self.instances.lock().get_mut(user_id) {
            change(instance);
        }
    }

    /// The greatest reported history id of a user.
    #[must_use]
    pub fn history_id(&self, user_id: &str) -> Option<u64> {
        self.instances.lock().get(user_id)?.gmail_last_history_id
    }

    /// The bearer token of a machine: lower-case hex of HMAC-SHA256(gateway secret, sandbox id).
    #[must_use]
    pub fn gateway_token(&self, sandbox_id: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.gateway_secret.as_bytes());
        hex::encode(hmac::sign(&key, sandbox_id.as_bytes()))
    }

    fn with_instance(
        &self,
        user_id: &str,
        tell: impl FnOnce(&PlatformInstance) -> Value,
    ) -> Answer {
        let instances = self.instances.lock();
        let instance = instances.get(user_id).ok_or_else(no_instance)?;
        Ok(Json(tell(instance)))
    }
}

/// The platform's routes.
pub(crate) fn routes() -> Router<Sandbox> {
    let toggle = post(enable).delete(disable);
    Router::new()
        .route("/api/platform/status", get(status))
        .route("/api/platform/gateway-token", get(gateway_token))
        .route("/api/platform/gmail-oidc-email", get(oidc_email))
        .route("/api/platform/user-by-email", get(user_by_email))
        .route("/api/platform/user-by-sandbox", get(user_by_sandbox))
        .route("/api/platform/gmail-history-id", post(report_history_id))
        .route("/api/platform/gmail-notifications", toggle)
}

/// A caller with the API key.
struct ApiKeyHolder;

impl FromRequestParts<Sandbox> for ApiKeyHolder {
    type Rejection = (StatusCode, Json<Value>);

    async fn from_request_parts(
        parts: &mut Parts,
        sandbox: &Sandbox,
    ) -> Result<Self, Self::Rejection> {
        let shown = parts.headers.get("x-internal-api-key");
        if shown.is_some_and(|shown| shown.as_bytes() == sandbox.platform().api_key.as_bytes()) {
            Ok(Self)
        } else {
            Err(error(StatusCode::UNAUTHORIZED, "Unauthorized"))
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserQuery {
    user_id: Option<String>,
    email: Option<String>,
    sandbox_id: Option<String>,
}

impl UserQuery {
    fn user(self) -> Result<String, (StatusCode, Json<Value>)> {
        self.user_id
            .ok_or_else(|| error(StatusCode::BAD_REQUEST, "userId is required"))
    }
}

async fn status(
    _: ApiKeyHolder,
    State(sandbox): State<Sandbox>,
    Query(about): Query<UserQuery>,
) -> Answer {
    sandbox
        .platform()
        .with_instance(&about.user()?, |instance| {
            let mut status = json!(instance);
            status["googleAccountEmail"] = json!(instance.email);
            status
        })
}

async fn gateway_token(
    _: ApiKeyHolder,
    State(sandbox): State<Sandbox>,
    Query(about): Query<UserQuery>,
) -> Answer {
    let platform = sandbox.platform();
    platform.with_instance(
        &about.user()?,
        |instance| json!({ "gatewayToken": platform.gateway_token(&instance.sandbox_id) }),
    )
}

async fn oidc_email(
    _: ApiKeyHolder,
    State(sandbox): State<Sandbox>,
    Query(about): Query<UserQuery>,
) -> Answer {
    let tell = |instance: &PlatformInstance| json!({ "gmailPushOidcEmail": instance.gmail_push_oidc_email });
    sandbox.platform().with_instance(&about.user()?, tell)
}

async fn user_by_email(
    _: ApiKeyHolder,
    State(sandbox): State<Sandbox>,
    Query(about): Query<UserQuery>,
) -> Answer {
    let instances = sandbox.platform().instances.lock();
    let is_theirs = |instance: &&PlatformInstance| {
        let (theirs, asked) = (instance.email.as_deref(), about.email.as_deref());
        theirs
            .zip(asked)
            .is_some_and(|(theirs, asked)| theirs.eq_ignore_ascii_case(asked))
    };
    let theirs = instances.values().filter(is_theirs);
    let users: Vec<_> = theirs.map(|instance| &instance.user_id).collect();
    let first = users.first().ok_or_else(no_instance)?;
    Ok(Json(json!({ "userId": first, "userIds": users })))
}

async fn user_by_sandbox(
    _: ApiKeyHolder,
    State(sandbox): State<Sandbox>,
    Query(about): Query<UserQuery>,
) -> Answer {
    let instances = sandbox.platform().instances.lock();
    let is_theirs =
        |instance: &&PlatformInstance| Some(&instance.sandbox_id) == about.sandbox_id.as_ref();
    let instance = instances.values().find(is_theirs).ok_or_else(no_instance)?;
    Ok(Json(json!({ "userId": instance.user_id })))
}

async fn report_history_id(_: ApiKeyHolder, State(sandbox): State<Sandbox>, body: Bytes) -> Answer {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let user = body["userId"].as_str().unwrap_or_default();
    let reported = body["historyId"]
        .as_str()
        .and_then(|text| text.parse().ok());
    sandbox.platform().update(user, |instance| {
        instance.gmail_last_history_id = instance.gmail_last_history_id.max(reported);
    });
    sandbox
        .platform()
        .with_instance(user, |_| json!({ "ok": true }))
}

async fn enable(_: ApiKeyHolder, State(sandbox): State<Sandbox>, body: Bytes) -> Answer {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let user = body["userId"].as_str().unwrap_or_default();
    set_notifications(&sandbox, user, true)
}

async fn disable(
    _: ApiKeyHolder,
    State(sandbox): State<Sandbox>,
    Query(about): Query<UserQuery>,
) -> Answer {
    set_notifications(&sandbox, &about.user()?, false)
}

fn set_notifications(sandbox: &Sandbox, user: &str, wanted: bool) -> Answer {
    let platform = sandbox.platform();
    let mut connected = false;
    platform.update(user, |instance| {
        connected = instance.google_connected;
        instance.gmail_notifications_enabled = wanted && connected;
    });
    if wanted && !connected && platform.with_instance(user, |_| Value::Null).is_ok() {
        let text = "Cannot enable Gmail notifications without a connected Google account";
        return Err(error(StatusCode::BAD_REQUEST, text));
    }
    platform.with_instance(
        user,
        |instance| json!({ "gmailNotificationsEnabled": instance.gmail_notifications_enabled }),
    )
}

fn no_instance() -> (StatusCode, Json<Value>) {
    error(StatusCode::NOT_FOUND, "No instance")
}

fn error(status: StatusCode, text: &str) -> (StatusCode, Json<Value>) {
    (status, Json(json!({ "error": text })))
}
