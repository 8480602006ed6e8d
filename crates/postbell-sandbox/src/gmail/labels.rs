//! `users.labels`
//! (<https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.labels>).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::mailbox::Mailbox;
use super::request::{Editor, Owner};
use crate::Sandbox;
use crate::errors::{api_error, not_found};

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

#[derive(Deserialize)]
pub(super) struct NewLabel {
    name: String,
}

pub(super) async fn list(
    Owner { email, .. }: Owner,
    State(sandbox): State<Sandbox>,
) -> Json<Value> {
    let own = sandbox
        .gmail()
        .with(&email, |mailbox| mailbox.labels.clone());
    let system = SYSTEM_LABELS.iter().map(|name| label_json(name, name));
    let own = own.iter().filter(|(_, name)| !name.is_empty());
    let own = own.map(|(id, name)| label_json(id, name));
    let labels: Vec<_> = system.chain(own).collect();
    Json(json!({ "labels": labels }))
}

pub(super) async fn get(
    Owner { email, .. }: Owner,
    State(sandbox): State<Sandbox>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Value>, Response> {
    sandbox.gmail().with(&email, |mailbox| {
        let name = name_of(mailbox, &id).ok_or_else(not_found)?;
        let mut label = label_json(&id, &name);
        let messages = mailbox.messages.iter();
        let has = messages.filter(|message| !message.is_deleted && message.labels.contains(&id));
        label["messagesTotal"] = has.count().into();
        Ok(Json(label))
    })
}

pub(super) async fn create(
    Editor { email }: Editor,
    State(sandbox): State<Sandbox>,
    Json(NewLabel { name }): Json<NewLabel>,
) -> Response {
    sandbox.gmail().with(&email, |mailbox| {
        let is_taken = SYSTEM_LABELS
            .iter()
            .any(|taken| name.eq_ignore_ascii_case(taken));
        if is_taken || mailbox.labels.iter().any(|(_, taken)| *taken == name) {
            return api_error(409, "Label name exists or conflicts");
        }
        let id = format!("Label_{}", mailbox.labels.len() + 1);
        let label = label_json(&id, &name);
        mailbox.labels.push((id, name));
        Json(label).into_response()
    })
}

/// Deletes a label, and takes it from all messages.
pub(super) async fn delete(
    Editor { email }: Editor,
    State(sandbox): State<Sandbox>,
    Path((_, id)): Path<(String, String)>,
) -> Response {
    sandbox.gmail().with(&email, |mailbox| {
        let Some(place) = mailbox.labels.iter().position(|(known, _)| *known == id) else {
            return not_found();
        };
        // Its id is not given to another label.
        mailbox.labels[place].1.clear();
        for message in &mut mailbox.messages {
            message.labels.retain(|label| *label != id);
        }
        StatusCode::NO_CONTENT.into_response()
    })
}

/// The name of a label; `None` if the mailbox has no such label.
pub(super) fn name_of(mailbox: &Mailbox, id: &str) -> Option<String> {
    let own = mailbox
        .labels
        .iter()
        .find(|(known, name)| known == id && !name.is_empty());
    let system = || SYSTEM_LABELS.contains(&id).then(|| id.to_owned());
    own.map(|(_, name)| name.clone()).or_else(system)
}

fn label_json(id: &str, name: &str) -> Value {
    let kind = if SYSTEM_LABELS.contains(&id) {
        "system"
    } else {
        "user"
    };
    json!({ "id": id, "name": name, "type": kind })
}
