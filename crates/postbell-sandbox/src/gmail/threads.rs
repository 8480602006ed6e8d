//! `users.threads.list` and `users.threads.get`
//! (<https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.threads>).

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::messages::{found, page, shown};
use super::request::{Owner, Parameters};
use crate::Sandbox;
use crate::errors::{api_error, not_found};

/// The threads of the messages that `users.messages.list` lists, the latest first.
pub(super) async fn list(
    Owner { email, .. }: Owner,
    State(sandbox): State<Sandbox>,
    RawQuery(query): RawQuery,
) -> Response {
    let parameters = Parameters::of(query);
    sandbox.gmail().with(&email, |mailbox| {
        let mut seen = BTreeSet::new();
        let found = found(mailbox, &parameters);
        let threads: Vec<_> = found
            .into_iter()
            .filter(|message| seen.insert(&message.thread_id))
            .map(|message| {
                json!({
                    "id": message.thread_id,
                    "snippet": message.node.snippet(),
                    "historyId": message.history_id.to_string(),
                })
            })
            .collect();
        Json(page(&threads, "threads", &parameters)).into_response()
    })
}

/// All messages of a thread in order of arrival, those in the trash and drafts included. There is no format `raw`.
pub(super) async fn get(
    Owner { email, .. }: Owner,
    State(sandbox): State<Sandbox>,
    Path((_, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let parameters = Parameters::of(query);
    if parameters.get("format") == Some("raw") {
        return api_error(400, "Invalid value at 'format'");
    }
    sandbox.gmail().with(&email, |mailbox| {
        let messages = mailbox.messages.iter();
        let messages: Vec<_> = messages
            .filter(|message| message.thread_id == id && !message.is_deleted)
            .collect();
        let Some(last) = messages.last() else {
            return not_found();
        };
        let shown: Option<Vec<_>> = messages
            .iter()
            .map(|message| shown(message, &parameters))
            .collect();
        match shown {
            Some(shown) => Json(json!({
                "id": id,
                "historyId": last.history_id.to_string(),
                "messages": shown,
            }))
            .into_response(),
            None => api_error(400, "Invalid value at 'format'"),
        }
    })
}
