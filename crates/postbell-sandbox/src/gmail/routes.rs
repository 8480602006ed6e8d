//! Gmail's routes.

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::request::Owner;
use super::{batch, fields, history, labels, messages, modify, threads, watch};
use crate::Sandbox;

/// Gmail's maximum mail size, as base64 in JSON.
const BODY_LIMIT: usize = 50 * 1024 * 1024;

/// Gmail's routes.
pub(crate) fn routes() -> Router<Sandbox> {
    let user = |call: &str| format!("/gmail/v1/users/{{user}}/{call}");
    Router::new()
        .route(&user("profile"), get(profile))
        .route(&user("watch"), post(watch::watch))
        .route(&user("stop"), post(watch::stop))
        .route(&user("history"), get(history::list))
        .route(
            &user("messages"),
            get(messages::list).post(messages::insert),
        )
        .route(&user("messages/import"), post(messages::insert))
        .route(&user("messages/send"), post(messages::send))
        .route(&user("messages/batchModify"), post(modify::batch_modify))
        .route(&user("messages/batchDelete"), post(modify::batch_delete))
        .route(
            &user("messages/{id}"),
            get(messages::get).delete(modify::delete_message),
        )
        .route(&user("messages/{id}/{verb}"), post(modify::message))
        .route(
            &user("messages/{id}/attachments/{attachment}"),
            get(messages::attachment),
        )
        .route(&user("threads"), get(threads::list))
        .route(
            &user("threads/{id}"),
            get(threads::get).delete(modify::delete_thread),
        )
        .route(&user("threads/{id}/{verb}"), post(modify::thread))
        .route(&user("labels"), get(labels::list).post(labels::create))
        .route(
            &user("labels/{id}"),
            get(labels::get).delete(labels::delete),
        )
        .route(&user("settings/sendAs"), get(send_as))
        .layer(from_fn(fields::select))
        .route("/batch", post(batch::run))
        .route("/batch/gmail/v1", post(batch::run))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}

async fn profile(Owner { email, .. }: Owner, State(sandbox): State<Sandbox>) -> Json<Value> {
    sandbox.gmail().with(&email, |mailbox| {
        let messages = mailbox
            .messages
            .iter()
            .filter(|message| !message.is_deleted)
            .count();
        Json(json!({
            "emailAddress": mailbox.email,
            "messagesTotal": messages,
            "threadsTotal": messages,
            "historyId": mailbox.history_id.to_string(),
        }))
    })
}

/// The mailbox's own address and its aliases
/// (<https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.settings.sendAs>).
async fn send_as(Owner { email, .. }: Owner, State(sandbox): State<Sandbox>) -> Json<Value> {
    let own = json!({ "sendAsEmail": email, "isPrimary": true, "isDefault": true });
    let aliases = sandbox
        .gmail()
        .with(&email, |mailbox| mailbox.aliases.clone());
    let aliases = aliases.into_iter().map(|alias| {
        json!({ "sendAsEmail": alias, "treatAsAlias": true, "verificationStatus": "accepted" })
    });
    let all: Vec<_> = std::iter::once(own).chain(aliases).collect();
    Json(json!({ "sendAs": all }))
}
