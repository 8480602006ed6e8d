//! Whether the controller is there, and what it is doing.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::bearer::VerifiedCaller;
use crate::controller::Controller;
use crate::routes::gateway::stats;
use crate::state::ControllerState;
use crate::state::StateCell;

/// For anybody, from the first moment of the process.
pub(crate) fn for_anybody(state: StateCell) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/_kilo/health", get(health_with_state))
        .with_state(state)
}

/// For whoever has the token.
pub(crate) fn routes() -> Router<Controller> {
    Router::new().route("/_kilo/version", get(version))
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Answers 200 whatever the state: a platform that restarted the machine would mend nothing.
async fn health_with_state(State(state): State<StateCell>) -> Json<Value> {
    let mut answer = json!({ "status": "ok" });
    add(&mut answer, state.get());
    Json(answer)
}

fn add(answer: &mut Value, state: ControllerState) {
    if let (Some(answer), Value::Object(state)) = (answer.as_object_mut(), json!(state)) {
        answer.extend(state);
    }
}

async fn version(_: VerifiedCaller, State(controller): State<Controller>) -> Json<Value> {
    let parts = &controller.parts;
    Json(json!({
        "version": parts.version.version,
        "commit": parts.version.commit,
        "gateway": stats(&parts.gateway_child.status(), &*parts.clock),
        "controllerState": parts.state.get(),
    }))
}
