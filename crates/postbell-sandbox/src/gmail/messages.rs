//! `users.messages`
//! (<https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages>).

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::{BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::mailbox::{Mailbox, Stored};
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
    sandbox.gmail().with(&email, |mailbox| {
        let found = found(mailbox, &parameters).into_iter();
        let found = found.map(|message| json!({ "id": message.id, "threadId": message.thread_id }));
        let found: Vec<_> = found.collect();
        Json(page(&found, "messages", &parameters)).into_response()
    })
}

/// Finds messages, latest first. Queries support `from:`, and `after:` and `before:` with seconds
/// since the Unix epoch.
pub(super) fn found<'a>(mailbox: &'a Mailbox, parameters: &Parameters) -> Vec<&'a Stored> {
    let labels = parameters.all("labelIds");
    let with_junk = parameters.get("includeSpamTrash") == Some("true");
    let search = parameters.get("q").unwrap_or_default();
    let seconds = |term: &str| {
        let mut terms = search.split_whitespace();
        terms.find_map(|word| word.strip_prefix(term)?.parse::<i64>().ok())
    };
    let (after, before) = (seconds("after:"), seconds("before:"));
    let mut terms = search.split([' ', '(', ')']);
    let from = terms.find_map(|word| word.strip_prefix("from:"));
    let is_asked_for = |message: &&Stored| {
        let has = |label: &str| message.labels.iter().any(|has| has == label);
        let at = message.internal_date.div_euclid(1000);
        !message.is_deleted
            && labels.iter().all(|label| has(label))
            && (with_junk || !(has("SPAM") || has("TRASH")))
            && after.is_none_or(|after| at >= after)
            && before.is_none_or(|before| at < before)
            && from.is_none_or(|from| is_from(message, from))
    };
    mailbox.messages.iter().rev().filter(is_asked_for).collect()
}

/// A page of what was found, under the name of the list.
pub(super) fn page(found: &[Value], name: &str, parameters: &Parameters) -> Value {
    let skipped = parameters
        .get("pageToken")
        .and_then(|token| token.parse().ok())
        .unwrap_or(0);
    let size = parameters.page(PAGE, LARGEST_PAGE);
    let shown: Vec<_> = found.iter().skip(skipped).take(size).collect();
    let mut answer = json!({ "resultSizeEstimate": found.len() });
    if found.len() > skipped + shown.len() {
        answer["nextPageToken"] = json!((skipped + shown.len()).to_string());
    }
    if !shown.is_empty() {
        answer[name] = json!(shown);
    }
    answer
}

fn is_from(message: &Stored, sender: &str) -> bool {
    let headers = message.node.headers_json(&["From".to_owned()]);
    headers.to_string().to_lowercase().contains(sender)
}

pub(super) async fn get(
    Owner { email, .. }: Owner,
    State(sandbox): State<Sandbox>,
    Path((_, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let parameters = Parameters::of(query);
    sandbox
        .gmail()
        .with(&email, |mailbox| match mailbox.message(&id) {
            Some(message) => match shown(message, &parameters) {
                Some(message) => Json(message).into_response(),
                None => api_error(400, "Invalid value at 'format'"),
            },
            None => not_found(),
        })
}

/// A message in the format of the parameters; `None` if there is no such format.
pub(super) fn shown(message: &Stored, parameters: &Parameters) -> Option<Value> {
    let mut answer = json!({
        "id": message.id,
        "threadId": message.thread_id,
        "labelIds": message.labels,
        "snippet": message.node.snippet(),
        "historyId": message.history_id.to_string(),
        "internalDate": message.internal_date.to_string(),
        "sizeEstimate": message.raw.len(),
    });
    match parameters
        .get("format")
        .unwrap_or("full")
        .to_lowercase()
        .as_str()
    {
        "full" => answer["payload"] = message.node.json(),
        "metadata" => {
            answer["payload"] = message
                .node
                .headers_json(&parameters.all("metadataHeaders"));
        }
        "raw" => answer["raw"] = BASE64_URL_SAFE.encode(&message.raw).into(),
        "minimal" => (),
        _ => return None,
    }
    Some(answer)
}

pub(super) async fn attachment(
    Owner { email, .. }: Owner,
    State(sandbox): State<Sandbox>,
    Path((_, id, attachment)): Path<(String, String, String)>,
) -> Response {
    sandbox.gmail().with(&email, |mailbox| {
        let message = mailbox.message(&id);
        match message.and_then(|message| message.node.attachment(&attachment)) {
            Some(content) => {
                let data = BASE64_URL_SAFE.encode(content);
                Json(json!({ "size": content.len(), "data": data })).into_response()
            }
            None => not_found(),
        }
    })
}

/// `insert` and `import`: adds a mail to the mailbox without sending it.
pub(super) async fn insert(
    Owner { email, .. }: Owner,
    State(sandbox): State<Sandbox>,
    body: Bytes,
) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let labels = request["labelIds"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let labels: Vec<_> = labels.iter().filter_map(Value::as_str).collect();
    take(&sandbox, &request, &[(email.as_str(), &labels)])
}

/// `send`: adds the mail to the sender's sent mail and to the inbox of each recipient in the sandbox.
pub(super) async fn send(
    Owner { email, .. }: Owner,
    State(sandbox): State<Sandbox>,
    body: Bytes,
) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let raw = String::from_utf8_lossy(&raw(&request)).to_lowercase();
    let known: Vec<String> = sandbox.gmail().mailboxes.lock().keys().cloned().collect();
    let mut places = vec![(email.as_str(), &["SENT"][..])];
    let recipients = known
        .iter()
        .filter(|known| **known != email && raw.contains(known.as_str()));
    places.extend(recipients.map(|known| (known.as_str(), &super::NEW_MAIL[..])));
    take(&sandbox, &request, &places)
}

fn raw(request: &Value) -> Vec<u8> {
    let raw = request["raw"]
        .as_str()
        .unwrap_or_default()
        .trim_end_matches('=');
    BASE64_URL_SAFE_NO_PAD.decode(raw).unwrap_or_default()
}

/// Adds a mail to mailboxes, and answers for the first.
fn take(sandbox: &Sandbox, request: &Value, places: &[(&str, &[&str])]) -> Response {
    let raw = raw(request);
    let mut answer = None;
    for (email, labels) in places {
        match sandbox.gmail().deliver_with_labels(email, &raw, labels) {
            Ok(delivered) => {
                answer.get_or_insert_with(|| {
                    let (id, thread_id) = (&delivered.message_id, &delivered.thread_id);
                    json!({ "id": id, "threadId": thread_id, "labelIds": labels })
                });
            }
            Err(error) => return api_error(400, &error.to_string()),
        }
    }
    Json(answer.unwrap_or_default()).into_response()
}
