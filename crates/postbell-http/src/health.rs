//! The answer to a liveness probe.

use axum::Json;
use serde_json::{Value, json};

/// Answers as long as the process does.
pub async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}
