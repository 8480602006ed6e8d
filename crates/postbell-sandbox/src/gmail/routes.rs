//! Gmail's routes and their authorization.

use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use reqwest::Url;
use serde_json::{Value, json};

use super::{history, messages, watch};
use crate::Sandbox;
use crate::oauth::Account;
use crate::refusal::{not_found, permission_denied};

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
        .route(&user("labels"), get(labels))
        .route(&user("labels/{id}"), get(label))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}

/// The mailbox of a request, which is always the caller's own.
pub(super) struct Owner {
    pub(super) email: String,
    /// Project number of the OAuth client.
    pub(super) consumer: String,
}

/// The scopes that allow reading a mailbox.
const SCOPES: [&str; 4] = [
    "https://mail.google.com/",
    "https://www.googleapis.com/auth/gmail.modify",
    "https://www.googleapis.com/auth/gmail.readonly",
    "https://www.googleapis.com/auth/gmail.metadata",
];

impl FromRequestParts<Sandbox> for Owner {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, sandbox: &Sandbox) -> Result<Self, Response> {
        let account = Account::from_request_parts(parts, sandbox).await?;
        account.require_any_scope(&SCOPES)?;
        let Account {
            email, consumer, ..
        } = account;
        sandbox.cloud().admit(&consumer, "gmail.googleapis.com")?;
        let path = Path::<Vec<(String, String)>>::from_request_parts(parts, sandbox).await;
        let Path(path) = path.map_err(|_| not_found())?;
        let user = path
            .into_iter()
            .find_map(|(name, value)| (name == "user").then_some(value));
        match user.as_deref() {
            Some("me") => Ok(Self { email, consumer }),
            Some(user) if user.eq_ignore_ascii_case(&email) => Ok(Self { email, consumer }),
            _ => Err(permission_denied(&format!("Delegation denied for {email}"))),
        }
    }
}

/// Query parameters, which may repeat. Unknown ones are ignored.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(query: Option<String>) -> Self {
        let query = query.unwrap_or_default();
        let url = Url::parse(&format!("http://query/?{query}"));
        let pairs = url.map(|url| url.query_pairs().into_owned().collect());
        Self(pairs.unwrap_or_default())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(named, _)| named == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let named = self.0.iter().filter(|(named, _)| named == name);
        named.map(|(_, value)| value.clone()).collect()
    }

    /// The requested page size.
    pub(super) fn page(&self, usual: usize, largest: usize) -> usize {
        let asked = self.get("maxResults").and_then(|asked| asked.parse().ok());
        asked.unwrap_or(usual).clamp(1, largest)
    }
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
