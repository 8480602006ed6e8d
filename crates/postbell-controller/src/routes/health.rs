//! Whether the controller is there, and what it is doing.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use postbell_protocol::routes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::bearer::VerifiedCaller;
use crate::controller::Controller;
use crate::state::ControllerState;
use crate::state::StateCell;
use crate::stats::stats;

/// For anybody, from the first moment of the process.
pub(crate) fn for_anybody(state: StateCell) -> Router {
    Router::new()
        .route("/health", get(postbell_http::health))
        .route(routes::CONTROLLER_HEALTH, get(health_with_state))
        .with_state(state)
}

/// For whoever has the token.
pub(crate) fn routes() -> Router<Controller> {
    Router::new().route(routes::CONTROLLER_VERSION, get(version))
}

/// Answers 200 whatever the state: a platform that restarted the machine would mend nothing.
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

async fn version(_: VerifiedCaller, State(controller): State<Controller>) -> Json<Value> {
    let clock = &*controller.clock;
    let watcher = controller.watcher.as_ref();
    Json(json!({
        "version": controller.version.version,
        "commit": controller.version.commit,
        "gateway": stats(&controller.gateway.status(), clock),
        "watcher": watcher.map(|watcher| stats(&watcher.status(), clock)),
        "controllerState": controller.state.get(),
    }))
}
