//! A stand-in for the bot's gateway, as a controller starts it: OpenClaw's
//! (<https://docs.openclaw.ai/gateway>), as far as mail needs it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::bot::{Bot, forget_hooks, list_hooks, take_hook};

/// Serves on `listener` as a gateway that takes hooks from whoever shows `hooks_token`; returns the
/// exit code that the process is to end with, once it is told to (`POST /sandbox/exit/CODE`).
///
/// # Errors
///
/// Where the listener has no address.
pub async fn run_gateway(listener: TcpListener, hooks_token: String) -> std::io::Result<u8> {
    let url = format!("http://{}/hooks/gmail", listener.local_addr()?);
    let (exit, mut exits) = mpsc::channel(1);
    let router = Router::new()
        .route("/ready", get(ready))
        .route("/hooks/gmail", post(take_hook))
        .route("/sandbox/hooks", get(list_hooks).delete(forget_hooks))
        .with_state(Arc::new(Bot::with_token(url, hooks_token)))
        .route("/sandbox/exit/{code}", post(end).with_state(exit));
    tokio::select! {
        served = axum::serve(listener, router) => served.map(|()| 0),
        code = exits.recv() => Ok(code.unwrap_or_default()),
    }
}

async fn ready() -> Json<Value> {
    Json(json!({ "ready": true }))
}

/// Ends the process, as a crash does: whoever asks gets no answer.
async fn end(State(exit): State<mpsc::Sender<u8>>, Path(code): Path<u8>) -> StatusCode {
    // Only the first one can be heard.
    let _ = exit.try_send(code);
    std::future::pending().await
}
