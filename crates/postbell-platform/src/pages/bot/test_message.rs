//! A notification of our own, which goes the way of Gmail's from the inbox on.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use postbell_core::{HistoryId, InvalidId, MessageId, Notification, UserRecord};
use serde_json::json;

/// What the message id of a test begins with.
const TEST_ID: &str = "postbell-test-";

/// Whether a message is a test of ours: it says nothing of Gmail.
pub(super) fn is_test(message: &MessageId) -> bool {
    message.as_str().starts_with(TEST_ID)
}

/// What a message is about, in a word or two.
pub(super) fn subject(message: &MessageId) -> &'static str {
    if is_test(message) { "Test" } else { "New mail" }
}

/// Makes one.
///
/// It says that the mailbox is where it was seen last, or nowhere: a watcher that has been there finds
/// nothing new, and what it covers of a notification that waits is nothing.
pub(super) fn test_notification(
    record: &UserRecord,
    chance: &str,
) -> Result<Notification, InvalidId> {
    let history_id = record.last_history_id.unwrap_or(HistoryId::new(0));
    let email = record
        .google
        .as_ref()
        .and_then(|google| google.email.as_ref());
    let email = email.map_or("", |email| email.as_str());
    let data = format!(
        "{{\"emailAddress\":{},\"historyId\":{history_id}}}",
        json!(email)
    );
    let id = format!("{TEST_ID}{chance}");
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
        user: record.user.clone(),
        message_id: id.parse()?,
        history_id,
        body: Bytes::from(body.to_string()),
    })
}
