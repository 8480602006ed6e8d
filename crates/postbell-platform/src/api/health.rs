//! Readiness.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{ApiError, Platform};

/// Answers whether the store does.
pub(super) async fn ready(State(platform): State<Platform>) -> Result<Json<Value>, ApiError> {
    let users = platform.users().instances.count().await;
    users.map_err(|error| ApiError::of("ready", error))?;
    Ok(Json(json!({ "status": "ready" })))
}
