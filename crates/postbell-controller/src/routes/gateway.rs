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
use postbell_core::BoxError;
use postbell_protocol::routes;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::warn;

use crate::bearer::VerifiedCaller;
use crate::controller::Controller;
use crate::stats::stats;
use crate::supervisor::CommandError;

/// How long the gateway may take to say whether it is ready.
const READY_TIME: Duration = Duration::from_secs(5);

/// How much it may say.
const READY_BYTES: usize = 64 * 1024;

pub(crate) fn routes() -> Router<Controller> {
    Router::new()
        .route(routes::GATEWAY_STATUS, get(status))
        .route(routes::GATEWAY_START, post(start))
        .route(routes::GATEWAY_STOP, post(stop))
        .route(routes::GATEWAY_RESTART, post(restart))
        .route(routes::GATEWAY_READY, get(ready))
}

async fn status(_: VerifiedCaller, State(controller): State<Controller>) -> Json<Value> {
    Json(stats(&controller.gateway.status(), &*controller.clock))
}

async fn start(_: VerifiedCaller, State(controller): State<Controller>) -> Response {
    done(controller.gateway.start().await)
}

async fn stop(_: VerifiedCaller, State(controller): State<Controller>) -> Response {
    done(controller.gateway.stop().await)
}

async fn restart(_: VerifiedCaller, State(controller): State<Controller>) -> Response {
    done(controller.gateway.restart().await)
}

fn done(carried_out: Result<(), CommandError>) -> Response {
    let (status, error) = match carried_out {
        Ok(()) => return Json(json!({ "ok": true })).into_response(),
        Err(CommandError::AlreadyRunning) => {
            (StatusCode::CONFLICT, "Gateway already running or starting")
        }
        Err(CommandError::ShuttingDown) => (StatusCode::CONFLICT, "Controller is shutting down"),
        Err(CommandError::Unstartable) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "Failed to start gateway")
        }
    };
    (status, Json(json!({ "error": error }))).into_response()
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
            not_reached()
        }
        Err(_) => {
            warn!("The gateway takes too long to say whether it is ready");
            not_reached()
        }
    }
}

async fn ask_whether_ready(controller: &Controller) -> Result<(StatusCode, Bytes), BoxError> {
    let loopback = &controller.loopback;
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

fn not_reached() -> Response {
    let body = Json(json!({ "error": "Gateway unreachable" }));
    (StatusCode::BAD_GATEWAY, body).into_response()
}
