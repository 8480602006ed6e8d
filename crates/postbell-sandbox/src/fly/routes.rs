//! Fly's routes.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::{Machine, Refused, version};
use crate::Sandbox;
use crate::fault_point::FaultPoint;

/// Fly's longest wait.
const LONGEST_WAIT: u64 = 60;

/// Polling interval while waiting for a machine.
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// An error in Fly's JSON form.
pub(crate) fn error(status: u16, text: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({ "error": text }))).into_response()
}

impl FaultPoint {
    /// Parses a path as a call of Fly's API.
    pub(crate) fn of_fly(method: &Method, path: &str) -> Option<Self> {
        let path = path.strip_prefix("/v1/apps/")?;
        match path.split('/').collect::<Vec<_>>()[..] {
            [_, "machines", _] if method == Method::GET => Some(Self::FlyGet),
            [_, "machines", _] => Some(Self::FlyUpdate),
            [_, "machines", _, "start"] => Some(Self::FlyStart),
            _ => None,
        }
    }
}

pub(crate) fn routes() -> Router<Sandbox> {
    const MACHINE: &str = "/v1/apps/{app}/machines/{machine}";
    Router::new()
        .route(MACHINE, get(show).post(update))
        .route(&format!("{MACHINE}/start"), post(start))
        .route(&format!("{MACHINE}/wait"), get(wait))
}

/// An authenticated caller, with the app and machine of the path.
struct MachineCaller(String, String);

impl FromRequestParts<Sandbox> for MachineCaller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, sandbox: &Sandbox) -> Result<Self, Response> {
        let shown = parts.headers.get(AUTHORIZATION);
        let shown = shown.and_then(|shown| shown.to_str().ok());
        let token = shown.and_then(|shown| shown.strip_prefix("Bearer "));
        if token != Some(sandbox.fly().token()) {
            return Err(error(401, "unauthorized"));
        }
        let path = Path::<(String, String)>::from_request_parts(parts, sandbox).await;
        let Path((app, machine)) = path.map_err(IntoResponse::into_response)?;
        Ok(Self(app, machine))
    }
}

/// Maps a call's result to a response.
fn answer(outcome: Result<Value, Refused>) -> Response {
    match outcome {
        Ok(value) => Json(value).into_response(),
        Err((status, text)) => error(status, text),
    }
}

fn shown(app: &str, machine: &str, row: &Machine) -> Value {
    json!({
        "id": machine,
        "name": format!("{app}-machine"),
        "state": row.state(),
        "region": "ord",
        "instance_id": row.instance_id,
        "private_ip": "fdaa:0:18:a7b:196:e274:9ce1:2",
        "created_at": "2023-10-31T02:30:10Z",
        "updated_at": "2023-10-31T02:35:26Z",
        "config": row.config,
        "events": [],
    })
}

async fn show(
    MachineCaller(app, machine): MachineCaller,
    State(sandbox): State<Sandbox>,
) -> Response {
    let key = (app.clone(), machine.clone());
    answer(
        sandbox
            .fly()
            .on(&key, "get", |row| Ok(shown(&app, &machine, row))),
    )
}

#[derive(Deserialize)]
struct Update {
    config: Map<String, Value>,
    current_version: Option<String>,
    #[serde(default)]
    skip_launch: bool,
}

/// Replaces the whole configuration; a running machine reboots.
async fn update(
    MachineCaller(app, machine): MachineCaller,
    State(sandbox): State<Sandbox>,
    Json(update): Json<Update>,
) -> Response {
    if !update.config.get("image").is_some_and(Value::is_string) {
        return error(422, "config.image is required");
    }
    let key = (app.clone(), machine.clone());
    let boot = *sandbox.fly().boot.lock();
    answer(sandbox.fly().on(&key, "update", |row| {
        let wanted = update.current_version.as_ref();
        if wanted.is_some_and(|wanted| *wanted != row.instance_id) {
            return Err((409, "the machine's version is another one"));
        }
        row.config = update.config;
        row.instance_id = version();
        if !update.skip_launch {
            row.boot(boot);
        }
        Ok(shown(&app, &machine, row))
    }))
}

async fn start(
    MachineCaller(app, machine): MachineCaller,
    State(sandbox): State<Sandbox>,
) -> Response {
    let boot = *sandbox.fly().boot.lock();
    answer(sandbox.fly().on(&(app, machine), "start", |row| {
        let before = row.state().to_owned();
        if !["stopped", "suspended", "created", "failed"].contains(&&*before) {
            return Err((412, "unable to start machine from current state"));
        }
        row.boot(boot);
        Ok(json!({ "previous_state": before, "migrated": false, "new_host": "" }))
    }))
}

#[derive(Deserialize)]
struct WaitQuery {
    state: Option<String>,
    timeout: Option<u64>,
    instance_id: Option<String>,
}

async fn wait(
    MachineCaller(app, machine): MachineCaller,
    State(sandbox): State<Sandbox>,
    Query(query): Query<WaitQuery>,
) -> Response {
    let state = query.state.unwrap_or_else(|| "started".to_owned());
    if state == "stopped" && query.instance_id.is_none() {
        return error(400, "instance_id is required to wait for stopped");
    }
    let seconds = query.timeout.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        match sandbox.fly().state(&app, &machine) {
            None => return error(404, "machine not found"),
            Some(now) if now == state => {
                let waited = |_: &mut Machine| Ok(json!({ "ok": true }));
                return answer(sandbox.fly().on(&(app, machine), "wait", waited));
            }
            Some(_) => sleep(POLL_PAUSE).await,
        }
    }
    error(
        408,
        "deadline_exceeded: machine did not reach the state in time",
    )
}
