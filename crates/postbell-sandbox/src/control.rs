//! The sandbox's control interface over HTTP.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_request;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cloud::Lag;
use crate::faults::Fault;
use crate::gmail::CountedCalls;
use crate::oauth::{Audience, ClientKind, IdTokenClaims};
use crate::platform::PlatformInstance;
use crate::{PROJECT, Sandbox, gog, pubsub};

/// Maximum mail size.
const BODY_LIMIT: usize = 50 * 1024 * 1024;

/// The routes of the control interface.
pub(crate) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/sandbox", get(help))
        .route("/sandbox/mailboxes/{email}/mails", post(deliver))
        .route("/sandbox/mailboxes/{email}/grant", post(grant))
        .route("/sandbox/mailboxes/{email}/tarball", post(tarball))
        .route("/sandbox/mailboxes/{email}/revoke", post(revoke))
        .route(
            "/sandbox/mailboxes/{email}/expire-history",
            post(expire_history),
        )
        .route("/sandbox/quota", get(quota).post(set_quota))
        .route("/sandbox/topics/{topic}", post(prepare_topic))
        .route(
            "/sandbox/faults",
            get(faults).post(add_fault).delete(clear_faults),
        )
        .route("/sandbox/keys/rotate", post(rotate_keys))
        .route("/sandbox/id-token", post(id_token))
        .route("/sandbox/service-accounts", post(add_service_account))
        .route("/sandbox/instances", post(put_instance))
        .route("/sandbox/machines", post(put_machine))
        .route("/sandbox/machines/calls", get(machine_calls))
        .route("/sandbox/clock", post(set_clock))
        .route("/sandbox/projects/{project}", post(put_project))
        .route("/sandbox/projects/{project}/client", post(add_client))
        .route("/sandbox/projects/{project}/consent", post(set_audience))
        .route("/sandbox/lag", post(set_lag))
        .route("/sandbox/permissions", post(deny))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(map_request(as_json))
}

/// Takes a body for JSON whatever its type is: `curl -d` names a form.
async fn as_json(mut request: Request) -> Request {
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(CONTENT_TYPE, json);
    request
}

async fn help(State(sandbox): State<Sandbox>) -> Json<Value> {
    let url = sandbox.url();
    Json(json!({
        "project": PROJECT,
        "hookUrl": sandbox.bot().hook_url(),
        "hookToken": sandbox.bot().token(),
        "directoryApiKey": sandbox.platform().api_key(),
        "flyToken": sandbox.fly().token(),
        "controls": {
            format!("POST {url}/sandbox/mailboxes/EMAIL/mails"): "the body, a mail in RFC 5322 form, arrives in Gmail",
            format!("POST {url}/sandbox/mailboxes/EMAIL/grant"): "gives an authorized_user credentials file; ?project=P: of a new client of that project",
            format!("POST {url}/sandbox/mailboxes/EMAIL/tarball"): "gives the same as a controller gets it: gog's folder as base64 of a tar.gz, with a watch on the topic gmail",
            format!("POST {url}/sandbox/mailboxes/EMAIL/revoke"): "takes all grants of EMAIL back",
            format!("POST {url}/sandbox/mailboxes/EMAIL/expire-history"): "makes all history too old",
            format!("GET, POST {url}/sandbox/quota"): "sets {\"unitsPerMinute\": N}, which the Gmail calls of each mailbox may cost in a minute, {} for no limit; gives how many calls since then were within it, and how many above",
            format!("POST {url}/sandbox/topics/TOPIC"): "makes a topic that Gmail may publish to, and a pull subscription TOPIC-pull",
            format!("GET, DELETE {url}/sandbox/hooks"): "what the bot got; forgets it",
            format!("POST {url}/sandbox/bot"): "what the bot does not accept: {\"maxBytes\": N (413 above), \"refuseSubject\": TEXT of a subject, \"refuseStatus\": 400}; {} for nothing",
            format!("GET, POST, DELETE {url}/sandbox/faults"): "what goes wrong: {\"at\": POINT, \"id\": \"MESSAGE\" for one message, \"kind\": KIND, …, \"often\": {\"times\": N} or {\"chance\": 0.1} or \"always\"}; POINT is oauth.token, oauth.revoke, oauth.certs, gmail.profile, gmail.watch, gmail.history.list, gmail.messages.list, gmail.messages.get, gmail.messages.get.raw, gmail.attachments.get, gmail.threads.get, pubsub.push, pubsub.pull, bot.hook, platform, fly.get, fly.start, fly.update, projects.create, projects.get, projects.search, services.get, services.enable, services.identity, serviceAccounts.create, serviceAccounts.get, topics.create, topics.get, subscriptions.create, or setIamPolicy of serviceAccounts, topics or subscriptions; KIND is delay (with millis), refuse (with status and retryAfter), refuseUntil (with status, seconds and named: header or text), refuseFor (with status and reason: userRateLimitExceeded, quotaExceeded, queriesPerMinute, dailyLimitExceeded, failedPrecondition, forbidden, insufficientPermissions or accessNotConfigured), unreadable, endless (with status), repeatPage, endlessPages, dropBefore, dropAfter, duplicate, reorder, or wall (with wall: termsOfService, domainRestrictedSharing, serviceDisabled, permissionDenied, billing, projectQuota or concurrentPolicyChange)",
            format!("POST {url}/sandbox/keys/rotate"): "makes a new signing key",
            format!("POST {url}/sandbox/id-token"): "signs {\"email\", \"audience\"}",
            format!("POST {url}/sandbox/service-accounts"): "registers {\"email\", \"publicKey\"} for domain-wide delegation",
            format!("POST {url}/sandbox/instances"): "adds a user to the directory, in the form of /api/platform/status",
            format!("POST {url}/sandbox/machines"): "adds a machine of Fly's: {\"app\", \"machine\", \"state\": \"started\" or \"stopped\", \"env\": {}}",
            format!("GET {url}/sandbox/machines/calls"): "what was done to machines",
            format!("POST {url}/sandbox/clock"): "sets {\"skewSeconds\"}",
            format!("POST {url}/sandbox/projects/PROJECT"): "makes a project, as the console does",
            format!("POST {url}/sandbox/projects/PROJECT/client"): "makes an OAuth client, {\"kind\": \"installed\" or \"web\", \"redirectUris\": [URI] for a web client}, and gives its file, as the console does",
            format!("POST {url}/sandbox/projects/PROJECT/consent"): "sets the consent screen: {\"publishing\": \"testing\", \"inProduction\" or \"internal\", \"testers\": [EMAIL]}",
            format!("POST {url}/sandbox/lag"): "lets changes take their time, in calls: {\"operations\", \"services\", \"policies\", \"accounts\"}",
            format!("POST {url}/sandbox/permissions"): "takes permissions away: {\"denied\": [PERMISSION]}",
        },
    }))
}

async fn deliver(
    State(sandbox): State<Sandbox>,
    Path(email): Path<String>,
    body: Bytes,
) -> Response {
    match sandbox.gmail().deliver(&email, &body) {
        Ok(delivered) => Json(json!({
            "id": delivered.message_id,
            "threadId": delivered.thread_id,
            "historyId": delivered.history_id.to_string(),
        }))
        .into_response(),
        Err(error) => bad_request(&error.to_string()),
    }
}

#[derive(Deserialize)]
struct GrantOf {
    /// The project of a new client; without one, the sandbox's client gets the grant.
    project: Option<String>,
}

async fn grant(
    State(sandbox): State<Sandbox>,
    Path(email): Path<String>,
    Query(GrantOf { project }): Query<GrantOf>,
) -> Response {
    let granted = match project {
        Some(project) => {
            let number = sandbox.cloud().put_project(&project);
            sandbox.oauth().grant_in(&email, &project, &number)
        }
        None => sandbox.oauth().grant(&email),
    };
    Json(granted).into_response()
}

async fn tarball(State(sandbox): State<Sandbox>, Path(email): Path<String>) -> Response {
    match gog::tarball(&sandbox, &email) {
        Ok(tarball) => tarball.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn revoke(State(sandbox): State<Sandbox>, Path(email): Path<String>) -> StatusCode {
    sandbox.oauth().revoke(&email);
    StatusCode::NO_CONTENT
}

async fn expire_history(State(sandbox): State<Sandbox>, Path(email): Path<String>) -> StatusCode {
    sandbox.gmail().expire_history(&email);
    StatusCode::NO_CONTENT
}

async fn quota(State(sandbox): State<Sandbox>) -> Json<CountedCalls> {
    Json(sandbox.gmail().counted_calls())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewQuota {
    units_per_minute: Option<u32>,
}

async fn set_quota(State(sandbox): State<Sandbox>, Json(new): Json<NewQuota>) -> StatusCode {
    sandbox.gmail().set_units_per_minute(new.units_per_minute);
    StatusCode::NO_CONTENT
}

async fn prepare_topic(State(sandbox): State<Sandbox>, Path(topic): Path<String>) -> Json<Value> {
    let (topic, subscription) = pubsub::prepare(&sandbox, &topic);
    Json(json!({ "topic": topic, "subscription": subscription }))
}

async fn faults(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(json!({ "faults": sandbox.faults().list() }))
}

async fn add_fault(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    match serde_json::from_slice::<Fault>(&body) {
        Ok(fault) => {
            sandbox.faults().put(fault);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => bad_request(&error.to_string()),
    }
}

async fn clear_faults(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.faults().clear();
    StatusCode::NO_CONTENT
}

async fn rotate_keys(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.rotate_keys();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct TokenWanted {
    email: String,
    audience: String,
}

async fn id_token(
    State(sandbox): State<Sandbox>,
    Json(TokenWanted { email, audience }): Json<TokenWanted>,
) -> Json<Value> {
    let claims = IdTokenClaims::of(&email, &audience, sandbox.clock().now_seconds());
    Json(json!({ "idToken": sandbox.oauth().id_token(&claims) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceAccount {
    email: String,
    public_key: String,
}

async fn add_service_account(
    State(sandbox): State<Sandbox>,
    Json(account): Json<ServiceAccount>,
) -> StatusCode {
    sandbox
        .oauth()
        .add_service_account(&account.email, &account.public_key);
    StatusCode::NO_CONTENT
}

async fn put_instance(
    State(sandbox): State<Sandbox>,
    Json(instance): Json<PlatformInstance>,
) -> StatusCode {
    sandbox.platform().put(instance);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct PutMachine {
    app: String,
    machine: String,
    state: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

async fn put_machine(State(sandbox): State<Sandbox>, Json(new): Json<PutMachine>) -> StatusCode {
    let env: Vec<_> = new.env.iter().map(|(n, v)| (&**n, &**v)).collect();
    sandbox.fly().put(&new.app, &new.machine, &new.state, &env);
    StatusCode::NO_CONTENT
}

async fn machine_calls(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(json!({ "calls": sandbox.fly().calls() }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Skew {
    skew_seconds: i64,
}

async fn set_clock(State(sandbox): State<Sandbox>, Json(skew): Json<Skew>) -> StatusCode {
    sandbox.clock().set_skew(skew.skew_seconds);
    StatusCode::NO_CONTENT
}

async fn put_project(State(sandbox): State<Sandbox>, Path(project): Path<String>) -> Json<Value> {
    let number = sandbox.cloud().put_project(&project);
    Json(json!({ "projectId": project, "projectNumber": number }))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NewClient {
    kind: ClientKind,
    redirect_uris: Vec<String>,
}

/// Creates an OAuth client, and its project if needed.
async fn add_client(
    State(sandbox): State<Sandbox>,
    Path(project): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, (StatusCode, String)> {
    let client = if body.is_empty() {
        Ok(NewClient::default())
    } else {
        serde_json::from_slice(&body)
    };
    let NewClient {
        kind,
        redirect_uris,
    } = client.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    if matches!(kind, ClientKind::Installed) && !redirect_uris.is_empty() {
        let problem = "redirectUris need \"kind\": \"web\"".to_owned();
        return Err((StatusCode::BAD_REQUEST, problem));
    }
    let number = sandbox.cloud().put_project(&project);
    let oauth = sandbox.oauth();
    Ok(Json(match kind {
        ClientKind::Installed => oauth.add_client(&project, &number, kind),
        ClientKind::Web => oauth.add_web_client(&project, &number, redirect_uris),
    }))
}

async fn set_audience(
    State(sandbox): State<Sandbox>,
    Path(project): Path<String>,
    Json(audience): Json<Audience>,
) -> StatusCode {
    sandbox.oauth().set_audience(&project, audience);
    StatusCode::NO_CONTENT
}

async fn set_lag(State(sandbox): State<Sandbox>, Json(lag): Json<Lag>) -> StatusCode {
    sandbox.cloud().set_lag(lag);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Denied {
    denied: Vec<String>,
}

async fn deny(State(sandbox): State<Sandbox>, Json(Denied { denied }): Json<Denied>) -> StatusCode {
    let denied: Vec<_> = denied.iter().map(String::as_str).collect();
    sandbox.cloud().deny(&denied);
    StatusCode::NO_CONTENT
}

fn bad_request(problem: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": problem }))).into_response()
}
