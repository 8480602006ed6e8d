//! Gmail's notification that a mailbox has changed.

use std::fmt;

use bytes::Bytes;

use crate::{HistoryId, MessageId, UserId};

/// A notification that a mailbox has changed up to a history id.
///
/// It is a cursor, not a mail: a later one covers all earlier ones of the same user.
#[derive(Clone, Eq, PartialEq)]
pub struct Notification {
    /// The owner of the mailbox.
    pub user: UserId,

    /// Pub/Sub's id of the message.
    pub message_id: MessageId,

    /// The mailbox's latest history id.
    pub history_id: HistoryId,

    /// The Pub/Sub body as received; it is posted to the controller unchanged.
    pub body: Bytes,
}

impl fmt::Debug for Notification {
    /// Omits the body, which contains the mail address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification")
            .field("user", &self.user)
            .field("message_id", &self.message_id)
            .field("history_id", &self.history_id)
            .finish_non_exhaustive()
    }
}
