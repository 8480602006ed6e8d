//! Watches of mailboxes
//! (<https://developers.google.com/workspace/gmail/api/guides/push>).

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::request::Owner;
use super::{Gmail, NEW_MAIL};
use crate::Sandbox;
use crate::errors::{api_error, error_with_reason, permission_denied};

/// Duration of a watch, in milliseconds: seven days.
const LIFE: i64 = 7 * 24 * 60 * 60 * 1000;

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) topic: String,
    pub(super) expires_at: i64,
    pub(super) last_notified: i64,
    labels: Vec<String>,
    excludes: bool,
}

impl Watch {
    /// Whether the watch covers a message with these labels.
    pub(super) fn is_for(&self, labels: &[&str]) -> bool {
        let touches = self
            .labels
            .iter()
            .any(|label| labels.contains(&label.as_str()));
        self.labels.is_empty() || touches != self.excludes
    }
}

impl Gmail {
    /// End of a watch that starts now, in milliseconds since the Unix epoch.
    fn watch_end(&self) -> i64 {
        self.clock.now_millis() + LIFE
    }

    /// Topic of a mailbox's watch, and its end in milliseconds since the Unix epoch. Of several projects' watches,
    /// the first one.
    #[must_use]
    pub fn watch(&self, email: &str) -> Option<(String, i64)> {
        self.with(email, |mailbox| {
            let watch = mailbox.watches.values().next()?;
            Some((watch.topic.clone(), watch.expires_at))
        })
    }

    /// Points a mailbox's watch to another topic, as another program of its owner might.
    pub fn watch_elsewhere(&self, email: &str, topic: &str) {
        self.with(email, |mailbox| mailbox.watches.clear());
        self.begin_watch(email, topic);
    }

    /// Starts a watch without the initial notification. Returns its end.
    pub(crate) fn begin_watch(&self, email: &str, topic: &str) -> i64 {
        let expires_at = self.watch_end();
        let watch = Watch {
            topic: topic.to_owned(),
            expires_at,
            last_notified: 0,
            labels: vec!["INBOX".to_owned()],
            excludes: false,
        };
        let project = topic.split('/').nth(1).unwrap_or_default().to_owned();
        self.with(email, |mailbox| mailbox.watches.insert(project, watch));
        expires_at
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    topic_name: String,
    #[serde(default)]
    label_ids: Vec<String>,
    #[serde(default)]
    label_filter_behavior: Option<String>,
}

/// Starts or renews a watch, and publishes the initial notification.
pub(super) async fn watch(
    Owner { email, consumer }: Owner,
    State(sandbox): State<Sandbox>,
    Json(request): Json<Request>,
) -> Response {
    let project = sandbox.cloud().id_of(&consumer).unwrap_or_default();
    if let Err(refusal) = check_topic(&sandbox, &project, &request.topic_name) {
        return refusal;
    }
    let expires_at = sandbox.gmail().watch_end();
    let excludes = request
        .label_filter_behavior
        .is_some_and(|how| how.eq_ignore_ascii_case("exclude"));
    let begun = sandbox.gmail().with(&email, |mailbox| {
        let other = mailbox.watches.get(&project);
        if other.is_some_and(|other| other.topic != request.topic_name) {
            return None;
        }
        let topic = request.topic_name;
        let labels = request.label_ids;
        let watch = Watch {
            topic,
            expires_at,
            last_notified: 0,
            labels,
            excludes,
        };
        mailbox.watches.insert(project.clone(), watch);
        Some(mailbox.history_id)
    });
    let Some(history_id) = begun else {
        let text = "Only one user push notification client allowed per developer (call /stop then try again)";
        return api_error(400, text);
    };
    let is_new = |of: &str| of == project;
    sandbox.gmail().notify_watches(&email, &NEW_MAIL, is_new);
    Json(json!({ "historyId": history_id.to_string(), "expiration": expires_at.to_string() }))
        .into_response()
}

/// Gmail publishes a test message to the topic, and returns Pub/Sub's error.
fn check_topic(sandbox: &Sandbox, project: &str, topic: &str) -> Result<(), Response> {
    let failed = format!("Error sending test message to Cloud PubSub {topic} : ");
    let name = topic.strip_prefix(&format!("projects/{project}/topics/"));
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        let text = format!("Invalid topicName does not match projects/{project}/topics/*");
        return Err(error_with_reason(
            400,
            &text,
            "global",
            "invalidArgument",
            "INVALID_ARGUMENT",
        ));
    };
    match sandbox.pubsub().lets_gmail_publish(topic) {
        None => Err(api_error(
            404,
            &format!("{failed}Resource not found (resource={name})."),
        )),
        Some(false) => {
            let text = format!("{failed}User not authorized to perform this action.");
            Err(permission_denied(&text))
        }
        Some(true) => Ok(()),
    }
}

/// Ends the watch of the client's project.
pub(super) async fn stop(
    Owner { email, consumer }: Owner,
    State(sandbox): State<Sandbox>,
) -> Response {
    let project = sandbox.cloud().id_of(&consumer).unwrap_or_default();
    sandbox
        .gmail()
        .with(&email, |mailbox| mailbox.watches.remove(&project));
    StatusCode::NO_CONTENT.into_response()
}
