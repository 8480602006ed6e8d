//! The test notification, which is delivered like one of Gmail.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use postbell_core::{HistoryId, InvalidId, MessageId, Notification, UserRecord};
use serde_json::json;

/// Prefix of the message ids of tests.
const TEST_ID: &str = "postbell-test-";

/// Returns whether a message is a test, and so no evidence of Gmail's pushes.
pub(super) fn is_test(message: &MessageId) -> bool {
    message.as_str().starts_with(TEST_ID)
}

/// What a message is about, in a word or two.
pub(in crate::pages) fn subject(message: &MessageId) -> &'static str {
    if is_test(message) { "Test" } else { "New mail" }
}

/// Creates a test notification for a user.
///
/// Its history id is the last known one, or 0: the watcher finds nothing new, and the test does not
/// cover a pending notification. It has no publish time, so that no earlier delivery covers it.
pub(super) fn test_notification(
    record: &UserRecord,
    random: &str,
) -> Result<Notification, InvalidId> {
    let history_id = record.last_history_id.unwrap_or(HistoryId::new(0));
    let email = record
        .google
        .as_ref()
        .and_then(|google| google.email.as_ref());
    let address = email.map_or("", |email| email.as_str());
    let data = format!(
        "{{\"emailAddress\":{},\"historyId\":{history_id}}}",
        json!(address)
    );
    let id = format!("{TEST_ID}{random}");
    let body = json!({
        "message": {
            "data": BASE64_STANDARD.encode(data),
            "messageId": id,
            "message_id": id,
            "attributes": { "postbell": "test" },
        },
        "subscription": "projects/postbell/subscriptions/test",
    });
    Ok(Notification {
        trace: None,
        user: record.user.clone(),
        address: email.cloned(),
        message_id: id.parse()?,
        published_at: None,
        history_id,
        body: Bytes::from(body.to_string()),
    })
}
