//! A stand-in for the bot's gateway that a controller starts, like OpenClaw's
//! (<https://docs.openclaw.ai/gateway>), as far as mail needs it.

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::bot::{Bot, forget_hooks, list_hooks, take_hook};

/// Serves a gateway on `listener` that accepts webhook calls with `hooks_token`.
///
/// # Errors
///
/// If the listener has no address.
pub async fn run_gateway(listener: TcpListener, hooks_token: String) -> std::io::Result<()> {
    let url = format!("http://{}/hooks/gmail", listener.local_addr()?);
    let router = Router::new()
        .route("/sandbox", get(help))
        .route("/ready", get(ready))
        .route("/hooks/gmail", post(take_hook))
        .route("/sandbox/hooks", get(list_hooks).delete(forget_hooks))
        .with_state(Arc::new(Bot::with_token(url, hooks_token)));
    axum::serve(listener, router).await
}

async fn help() -> Json<Value> {
    Json(json!({
        "POST /hooks/gmail": "takes a hook that shows KILOCLAW_HOOKS_TOKEN",
        "GET, DELETE /sandbox/hooks": "what came; forgets it",
        "GET /ready": "whether it is ready",
    }))
}

async fn ready() -> Json<Value> {
    Json(json!({ "ready": true }))
}
