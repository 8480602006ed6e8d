//! `/accounts`: replaces the accounts that are watched, and answers once that is done.

use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use axum::{Json, Router};
use postbell_http::{error_response, read_body};
use postbell_protocol::routes::WATCHER_ACCOUNTS;
use postbell_protocol::watched_accounts::WatchedAccount;
use serde_json::json;
use tokio::sync::oneshot;

use super::{AccountRoutes, Change};
use crate::server::{PushServers, VerifiedCaller};

/// The largest body: some hundred accounts.
const BODY_LIMIT: usize = 64 * 1024;

pub(super) fn routes(accounts: &AccountRoutes) -> Router {
    Router::new()
        .route(WATCHER_ACCOUNTS, put(replace))
        .with_state(accounts.clone())
}

impl FromRef<AccountRoutes> for PushServers {
    fn from_ref(routes: &AccountRoutes) -> Self {
        routes.servers.clone()
    }
}

async fn replace(
    State(routes): State<AccountRoutes>,
    _caller: VerifiedCaller,
    body: Body,
) -> Response {
    let body = match read_body(body, BODY_LIMIT).await {
        Ok(body) => body,
        Err(error) => return error_response(error.status(), &error.to_string()),
    };
    let Ok(accounts) = serde_json::from_slice::<Vec<WatchedAccount>>(&body) else {
        return error_response(StatusCode::BAD_REQUEST, "expected a list of accounts");
    };
    let (done, finished) = oneshot::channel();
    let sent = routes.changes.send(Change { accounts, done }).await;
    if sent.is_err() || finished.await.is_err() {
        let stopping = "the watcher is stopping";
        return error_response(StatusCode::SERVICE_UNAVAILABLE, stopping);
    }
    Json(json!({ "ok": true })).into_response()
}
