//! Changes of messages and threads: `modify`, `trash`, `untrash` and `delete`
//! (<https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages>).

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::Gmail;
use super::labels::name_of;
use super::request::{Deleter, Editor};
use crate::Sandbox;
use crate::errors::{api_error, not_found};

/// The change that a request describes. Gmail ignores an empty body.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Relabelling {
    /// Only in a batch.
    ids: Vec<String>,
    add_label_ids: Vec<String>,
    remove_label_ids: Vec<String>,
}

impl Relabelling {
    /// The change of a verb in the URL; `None` if there is no such verb.
    fn of(verb: &str, body: &[u8]) -> Option<Self> {
        let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        match verb {
            "modify" => Some(serde_json::from_slice(body).unwrap_or_default()),
            "trash" => Some(Self {
                add_label_ids: labels(&["TRASH"]),
                remove_label_ids: labels(&["INBOX"]),
                ..Self::default()
            }),
            "untrash" => Some(Self {
                remove_label_ids: labels(&["TRASH"]),
                ..Self::default()
            }),
            _ => None,
        }
    }

    /// Changes messages. Refuses labels that the mailbox has not.
    fn apply(&self, gmail: &Gmail, email: &str, ids: &[String]) -> Result<(), Response> {
        let named = self.add_label_ids.iter().chain(&self.remove_label_ids);
        let unknown = gmail.with(email, |mailbox| {
            let mut named = named.filter(|label| name_of(mailbox, label).is_none());
            named.next().cloned()
        });
        if let Some(label) = unknown {
            return Err(api_error(400, &format!("Invalid label: {label}")));
        }
        let add: Vec<_> = self.add_label_ids.iter().map(String::as_str).collect();
        let remove: Vec<_> = self.remove_label_ids.iter().map(String::as_str).collect();
        let mut ids = ids.iter();
        if ids.all(|id| gmail.relabel(email, id, &add, &remove)) {
            Ok(())
        } else {
            Err(not_found())
        }
    }
}

/// `modify`, `trash` and `untrash` of a message.
pub(super) async fn message(
    Editor { email }: Editor,
    State(sandbox): State<Sandbox>,
    Path((_, id, verb)): Path<(String, String, String)>,
    body: Bytes,
) -> Result<Response, Response> {
    let change = Relabelling::of(&verb, &body).ok_or_else(not_found)?;
    let gmail = sandbox.gmail();
    change.apply(gmail, &email, std::slice::from_ref(&id))?;
    gmail.with(&email, |mailbox| {
        let message = mailbox.message(&id).ok_or_else(not_found)?;
        let (thread, labels) = (&message.thread_id, &message.labels);
        Ok(Json(json!({ "id": id, "threadId": thread, "labelIds": labels })).into_response())
    })
}

/// The same of all messages of a thread.
pub(super) async fn thread(
    Editor { email }: Editor,
    State(sandbox): State<Sandbox>,
    Path((_, id, verb)): Path<(String, String, String)>,
    body: Bytes,
) -> Result<Response, Response> {
    let change = Relabelling::of(&verb, &body).ok_or_else(not_found)?;
    let gmail = sandbox.gmail();
    let messages = gmail.with(&email, |mailbox| mailbox.thread(&id));
    if messages.is_empty() {
        return Err(not_found());
    }
    change.apply(gmail, &email, &messages)?;
    let shown = gmail.with(&email, |mailbox| {
        let messages = messages.iter().filter_map(|id| mailbox.message(id));
        let messages = messages
            .map(|message| json!({ "id": message.id, "threadId": id, "labelIds": message.labels }));
        messages.collect::<Vec<_>>()
    });
    Ok(Json(json!({ "id": id, "messages": shown })).into_response())
}

pub(super) async fn batch_modify(
    Editor { email }: Editor,
    State(sandbox): State<Sandbox>,
    Json(change): Json<Relabelling>,
) -> Result<StatusCode, Response> {
    change.apply(sandbox.gmail(), &email, &change.ids)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn delete_message(
    Deleter { email }: Deleter,
    State(sandbox): State<Sandbox>,
    Path((_, id)): Path<(String, String)>,
) -> Result<StatusCode, Response> {
    let is_deleted = sandbox.gmail().delete(&email, &id);
    is_deleted
        .then_some(StatusCode::NO_CONTENT)
        .ok_or_else(not_found)
}

pub(super) async fn delete_thread(
    Deleter { email }: Deleter,
    State(sandbox): State<Sandbox>,
    Path((_, id)): Path<(String, String)>,
) -> Result<StatusCode, Response> {
    let gmail = sandbox.gmail();
    let messages = gmail.with(&email, |mailbox| mailbox.thread(&id));
    if messages.is_empty() {
        return Err(not_found());
    }
    for message in messages {
        gmail.delete(&email, &message);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Messages that do not exist are no error.
pub(super) async fn batch_delete(
    Deleter { email }: Deleter,
    State(sandbox): State<Sandbox>,
    Json(deleted): Json<Relabelling>,
) -> StatusCode {
    for id in &deleted.ids {
        sandbox.gmail().delete(&email, id);
    }
    StatusCode::NO_CONTENT
}
