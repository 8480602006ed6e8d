//! The gateway's process: looked at and commanded.

use std::error::Error;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::uri::PathAndQuery;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, Limited};
use postbell_core::{BoxError, Clock, Timestamp};
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::warn;

use crate::bearer::VerifiedCaller;
use crate::controller::Controller;
use crate::supervisor::{ChildStatus, Conflict, Exit};

/// How long the gateway may take to say whether it is ready.
const READY_TIME: Duration = Duration::from_secs(5);

/// How much it may say.
const READY_BYTES: usize = 64 * 1024;

pub(crate) fn routes() -> Router<Controller> {
    Router::new()
        .route("/_kilo/gateway/status", get(status))
        .route("/_kilo/gateway/start", post(start))
        .route("/_kilo/gateway/stop", post(stop))
        .route("/_kilo/gateway/restart", post(restart))
        .route("/_kilo/gateway/ready", get(ready))
}

async fn status(_: VerifiedCaller, State(controller): State<Controller>) -> Json<Value> {
    let parts = &controller.parts;
    Json(stats(&parts.gateway_child.status(), &*parts.clock))
}

async fn start(_: VerifiedCaller, State(controller): State<Controller>) -> Response {
    done(controller.parts.gateway_child.start().await)
}

async fn stop(_: VerifiedCaller, State(controller): State<Controller>) -> Response {
    done(controller.parts.gateway_child.stop().await)
}

async fn restart(_: VerifiedCaller, State(controller): State<Controller>) -> Response {
    done(controller.parts.gateway_child.restart().await)
}

fn done(carried_out: Result<(), Conflict>) -> Response {
    let error = match carried_out {
        Ok(()) => return Json(json!({ "ok": true })).into_response(),
        Err(Conflict::AlreadyRunning) => "Gateway already running or starting",
        Err(Conflict::ShuttingDown) => "Controller is shutting down",
    };
    (StatusCode::CONFLICT, Json(json!({ "error": error }))).into_response()
}

/// Asks the gateway itself: 200 where it says so, 503 where it says anything else, 502 where it
/// says nothing.
async fn ready(_: VerifiedCaller, State(controller): State<Controller>) -> Response {
    match timeout(READY_TIME, ask_whether_ready(&controller)).await {
        Ok(Ok((status, body))) => {
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (status, kind, body).into_response()
        }
        Ok(Err(error)) => {
            let error: &dyn Error = &*error;
            warn!(error, "The gateway does not say whether it is ready");
            unreachable()
        }
        Err(_) => {
            warn!("The gateway takes too long to say whether it is ready");
            unreachable()
        }
    }
}

async fn ask_whether_ready(controller: &Controller) -> Result<(StatusCode, Bytes), BoxError> {
    let loopback = &controller.parts.loopback;
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = loopback.uri(PathAndQuery::from_static("/ready"));
    let answer = loopback.send(request).await?;
    let status = if answer.status().is_success() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Limited::new(answer.into_body(), READY_BYTES);
    let body = body.collect().await?.to_bytes();
    // What is no JSON is nothing that a caller of this could read.
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
    let plain = || Bytes::from(json!({ "ready": status == StatusCode::OK }).to_string());
    Ok((status, if is_json { body } else { plain() }))
}

fn unreachable() -> Response {
    let body = Json(json!({ "error": "Gateway unreachable" }));
    (StatusCode::BAD_GATEWAY, body).into_response()
}

/// What is known of the gateway's process, as the contract has it.
pub(crate) fn stats(status: &ChildStatus, clock: &dyn Clock) -> Value {
    let alive = status.state.alive();
    let uptime = alive.map(|alive| clock.elapsed().saturating_sub(alive.since));
    json!({
        "state": status.state.word(),
        "pid": alive.map(|alive| alive.pid),
        "uptime": uptime.unwrap_or_default().as_secs(),
        "restarts": status.restarts,
        "lastExit": status.last_exit.map(last_exit),
    })
}

fn last_exit(Exit { code, signal, at }: Exit) -> Value {
    json!({ "code": code, "signal": signal, "at": in_iso_8601(at) })
}

/// As JavaScript's `toISOString` writes it, for KiloClaw's platform.
fn in_iso_8601(at: Timestamp) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
    Some(format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use postbell_core::PausedClock;

    use super::*;
    use crate::supervisor::{Alive, ChildState};

    #[tokio::test(start_paused = true)]
    async fn the_stats_are_those_of_the_contract() {
        let clock = PausedClock::starting_at(Timestamp::default());
        tokio::time::sleep(Duration::from_millis(7_900)).await;
        let alive = Alive {
            pid: 42,
            since: Duration::from_secs(2),
        };
        let crash = Exit {
            code: None,
            signal: Some("SIGKILL"),
            at: Timestamp::from_millis(1_790_000_000_120),
        };
        let status = ChildStatus {
            state: ChildState::Running(alive),
            restarts: 3,
            last_exit: Some(crash),
        };
        let expected = json!({
            "state": "running", "pid": 42, "uptime": 5, "restarts": 3,
            "lastExit": { "code": null, "signal": "SIGKILL", "at": "2026-09-21T14:13:20.120Z" },
        });
        assert_eq!(stats(&status, &clock), expected);

        let status = ChildStatus {
            state: ChildState::Stopped,
            restarts: 0,
            last_exit: None,
        };
        let expected = json!({
            "state": "stopped", "pid": null, "uptime": 0, "restarts": 0, "lastExit": null,
        });
        assert_eq!(stats(&status, &clock), expected);
    }
}
