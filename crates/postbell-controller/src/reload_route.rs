//! `/_kilo/reload`: fetches the configuration from the platform, and applies it without restarting the
//! gateway.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use postbell_http::error_response;
use postbell_protocol::routes;
use serde_json::json;

use crate::bearer::VerifiedCaller;
use crate::reloads::{Change, ReloadError};
use crate::route_state::RouteState;

pub(crate) fn routes() -> Router<RouteState> {
    Router::new().route(routes::CONTROLLER_RELOAD, post(reload))
}

async fn reload(_: VerifiedCaller, State(state): State<RouteState>) -> Response {
    let Some(reloads) = &state.reloads else {
        return error_response(
            StatusCode::NOT_FOUND,
            "This machine does not fetch its configuration: POSTBELL_CONTROLLER__PLATFORM_URL is not set",
        );
    };
    let (status, error) = match reloads.request().await {
        Ok(change) => {
            let changed = change == Change::Applied;
            return Json(json!({ "ok": true, "changed": changed })).into_response();
        }
        Err(ReloadError::NotFetched) => (
            StatusCode::BAD_GATEWAY,
            "The platform did not give the configuration",
        ),
        Err(ReloadError::NotApplied) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "The credentials cannot be installed",
        ),
        Err(ReloadError::ShuttingDown) => (StatusCode::CONFLICT, "Controller is shutting down"),
    };
    error_response(status, error)
}
