//! `/health`, `/_kilo/health` and `/_kilo/version`.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use postbell_protocol::routes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::bearer::VerifiedCaller;
use crate::child_stats::stats;
use crate::route_state::RouteState;
use crate::state::{ControllerState, StateCell};

/// The routes without authentication.
pub(crate) fn public(state: StateCell) -> Router {
    Router::new()
        .route("/health", get(postbell_http::health))
        .route(routes::CONTROLLER_HEALTH, get(health_with_state))
        .with_state(state)
}

/// The routes that need the gateway token.
pub(crate) fn authenticated() -> Router<RouteState> {
    Router::new().route(routes::CONTROLLER_VERSION, get(version))
}

/// Answers 200 in every state: restarting the machine would not fix a configuration error.
async fn health_with_state(State(state): State<StateCell>) -> Json<Health> {
    let (status, state) = ("ok", state.get());
    Json(Health { status, state })
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(flatten)]
    state: ControllerState,
}

async fn version(_: VerifiedCaller, State(state): State<RouteState>) -> Json<Value> {
    let clock = &*state.clock;
    let watcher = state.watcher.as_ref();
    Json(json!({
        "version": state.version.version,
        "commit": state.version.commit,
        "gateway": stats(&state.gateway.status(), clock),
        "watcher": watcher.map(|watcher| stats(&watcher.status(), clock)),
        "controllerState": state.state.get(),
    }))
}
