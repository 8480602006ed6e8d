//! Readiness.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{ApiError, Platform};

/// Responds with 503 if the store is unavailable or takes no writes.
pub(super) async fn ready(State(platform): State<Platform>) -> Result<Json<Value>, ApiError> {
    let users = platform.users();
    let ready = users.store.check_ready(users.clock.now()).await;
    ready.map_err(|error| ApiError::from_change("ready", error))?;
    Ok(Json(json!({ "status": "ready" })))
}
