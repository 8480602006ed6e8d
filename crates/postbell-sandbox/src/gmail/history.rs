//! `users.history.list`
//! (<https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.history/list>).

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::mailbox::{Change, ChangeKind, Mailbox};
use super::request::{Owner, Parameters};
use crate::Sandbox;
use crate::errors::{api_error, not_found};

/// Default and maximum page size.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 500;

pub(super) async fn list(
    Owner { email, .. }: Owner,
    State(sandbox): State<Sandbox>,
    RawQuery(query): RawQuery,
) -> Response {
    let parameters = Parameters::of(query);
    let Some(start) = parameters
        .get("startHistoryId")
        .and_then(|start| start.parse().ok())
    else {
        return api_error(400, "Invalid value at 'start_history_id' (TYPE_UINT64)");
    };
    sandbox.gmail().with(&email, |mailbox| {
        if start < mailbox.known_from {
            return not_found();
        }
        Json(page(mailbox, start, &parameters)).into_response()
    })
}

fn page(mailbox: &Mailbox, start: u64, parameters: &Parameters) -> Value {
    let kinds = parameters.all("historyTypes");
    let label = parameters.get("labelId");
    // A page begins after the change that its token names.
    let after = parameters
        .get("pageToken")
        .and_then(|token| token.parse().ok())
        .unwrap_or(start);
    let is_asked_for = |change: &&Change| {
        let kind = match change.kind {
            ChangeKind::MessageAdded => "messageAdded",
            ChangeKind::MessageDeleted => "messageDeleted",
            ChangeKind::LabelsAdded(_) => "labelAdded",
            ChangeKind::LabelsRemoved(_) => "labelRemoved",
        };
        let labels = &mailbox.messages[change.message].labels;
        change.id > after
            && (kinds.is_empty() || kinds.iter().any(|asked| asked == kind))
            && label.is_none_or(|label| labels.iter().any(|has| has == label))
    };
    let first = mailbox.history.partition_point(|change| change.id <= after);
    let mut changes = mailbox.history[first..].iter().filter(is_asked_for);
    let shown: Vec<_> = changes
        .by_ref()
        .take(parameters.page(PAGE, LARGEST_PAGE))
        .collect();
    let mut answer = BTreeMap::from([("historyId", json!(mailbox.history_id.to_string()))]);
    if changes.next().is_some()
        && let Some(last) = shown.last()
    {
        answer.insert("nextPageToken", json!(last.id.to_string()));
    }
    if !shown.is_empty() {
        let records: Vec<_> = shown.iter().map(|change| record(mailbox, change)).collect();
        answer.insert("history", json!(records));
    }
    json!(answer)
}

fn record(mailbox: &Mailbox, change: &Change) -> Value {
    let message = &mailbox.messages[change.message];
    let short = json!({ "id": message.id, "threadId": message.thread_id });
    let mut with_labels = short.clone();
    with_labels["labelIds"] = json!(message.labels);
    let mut changed = json!({ "message": with_labels });
    let what = match &change.kind {
        ChangeKind::MessageAdded => "messagesAdded",
        ChangeKind::MessageDeleted => "messagesDeleted",
        ChangeKind::LabelsAdded(labels) => {
            changed["labelIds"] = json!(labels);
            "labelsAdded"
        }
        ChangeKind::LabelsRemoved(labels) => {
            changed["labelIds"] = json!(labels);
            "labelsRemoved"
        }
    };
    json!({ "id": change.id.to_string(), "messages": [short], what: [changed] })
}
