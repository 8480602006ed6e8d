//! Gmail's routes.

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::request::Owner;
use super::{history, messages, threads, watch};
use crate::Sandbox;
use crate::errors::not_found;

/// Gmail's maximum mail size, as base64 in JSON.
const BODY_LIMIT: usize = 50 * 1024 * 1024;

/// The labels that every mailbox has.
const SYSTEM_LABELS: [&str; 8] = [
    "INBOX",
    "UNREAD",
    "SENT",
    "DRAFT",
    "SPAM",
    "TRASH",
    "STARRED",
    "IMPORTANT",
];

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
        .route(&user("messages/{id}"), get(messages::get))
        .route(
            &user("messages/{id}/attachments/{attachment}"),
            get(messages::attachment),
        )
        .route(&user("threads/{id}"), get(threads::get))
        .route(&user("labels"), get(labels))
        .route(&user("labels/{id}"), get(label))
        .route(&user("settings/sendAs"), get(send_as))
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

async fn labels(_: Owner) -> Json<Value> {
    let labels: Vec<_> = SYSTEM_LABELS.iter().map(|name| label_json(name)).collect();
    Json(json!({ "labels": labels }))
}

async fn label(
    Owner { email, .. }: Owner,
    State(sandbox): State<Sandbox>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Value>, Response> {
    let known = SYSTEM_LABELS
        .iter()
        .find(|name| **name == id)
        .ok_or_else(not_found)?;
    let total = sandbox.gmail().with(&email, |mailbox| {
        let has = mailbox
            .messages
            .iter()
            .filter(|message| message.labels.contains(&id));
        has.filter(|message| !message.is_deleted).count()
    });
    let mut label = label_json(known);
    label["messagesTotal"] = total.into();
    Ok(Json(label))
}

fn label_json(name: &str) -> Value {
    json!({ "id": name, "name": name, "type": "system" })
}
