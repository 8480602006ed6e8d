//! `/_kilo/gateway/*`: status and commands of the gateway's process.

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
use postbell_http::error_response;
use postbell_protocol::routes;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::warn;

use crate::bearer::VerifiedCaller;
use crate::child_stats::stats;
use crate::loopback::Loopback;
use crate::route_state::RouteState;
use crate::supervisor::CommandError;

/// The time-out and the size limit of the gateway's readiness response.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
const READY_BYTES: usize = 64 * 1024;

pub(crate) fn routes() -> Router<RouteState> {
    Router::new()
        .route(routes::GATEWAY_STATUS, get(status))
        .route(routes::GATEWAY_START, post(start))
        .route(routes::GATEWAY_STOP, post(stop))
        .route(routes::GATEWAY_RESTART, post(restart))
        .route(routes::GATEWAY_READY, get(ready))
}

async fn status(_: VerifiedCaller, State(state): State<RouteState>) -> Json<Value> {
    Json(stats(&state.gateway.status(), &*state.clock))
}

async fn start(_: VerifiedCaller, State(state): State<RouteState>) -> Response {
    command_response(state.gateway.start().await)
}

async fn stop(_: VerifiedCaller, State(state): State<RouteState>) -> Response {
    command_response(state.gateway.stop().await)
}

async fn restart(_: VerifiedCaller, State(state): State<RouteState>) -> Response {
    command_response(state.gateway.restart().await)
}

fn command_response(result: Result<(), CommandError>) -> Response {
    let (status, error) = match result {
        Ok(()) => return Json(json!({ "ok": true })).into_response(),
        Err(CommandError::AlreadyRunning) => {
            (StatusCode::CONFLICT, "Gateway already running or starting")
        }
        Err(CommandError::ShuttingDown) => (StatusCode::CONFLICT, "Controller is shutting down"),
        Err(CommandError::StartFailed) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "Failed to start gateway")
        }
    };
    error_response(status, error)
}

/// Answers 200 if the gateway's own readiness route succeeds, 503 if it fails, 502 if it does not
/// answer.
async fn ready(_: VerifiedCaller, State(state): State<RouteState>) -> Response {
    match timeout(READY_TIMEOUT, get_readiness(&state.loopback)).await {
        Ok(Ok((status, body))) => {
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (status, kind, body).into_response()
        }
        Ok(Err(error)) => {
            let error: &dyn Error = &*error;
            warn!(error, "Could not read the gateway's readiness");
            unreachable()
        }
        Err(_) => {
            warn!("The gateway's readiness route did not answer in time");
            unreachable()
        }
    }
}

async fn get_readiness(loopback: &Loopback) -> Result<(StatusCode, Bytes), BoxError> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = loopback.uri(PathAndQuery::from_static("/ready"));
    let response = loopback.send(request).await?;
    let status = if response.status().is_success() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Limited::new(response.into_body(), READY_BYTES);
    let body = body.collect().await?.to_bytes();
    // Callers of this route expect JSON.
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
    let fallback = || Bytes::from(json!({ "ready": status == StatusCode::OK }).to_string());
    Ok((status, if is_json { body } else { fallback() }))
}

fn unreachable() -> Response {
    error_response(StatusCode::BAD_GATEWAY, "Gateway unreachable")
}
