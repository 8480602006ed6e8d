//! What Gmail tells us: that a mailbox has changed.

use std::fmt;

use bytes::Bytes;

use crate::{HistoryId, MessageId, UserId};

/// Gmail's word that a mailbox has changed up to a history id.
///
/// It is a cursor, not a mail: a later one covers all earlier ones of the same user.
#[derive(Clone, Eq, PartialEq)]
pub struct Notification {
    /// Whose mailbox.
    pub user: UserId,

    /// Pub/Sub's id of the message that brought it.
    pub message_id: MessageId,

    /// How far the mailbox has come.
    pub history_id: HistoryId,

    /// The Pub/Sub body as it came in; the controller gets these bytes.
    pub body: Bytes,
}

impl fmt::Debug for Notification {
    /// Leaves the body out: it holds the mail address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification")
            .field("user", &self.user)
            .field("message_id", &self.message_id)
            .field("history_id", &self.history_id)
            .finish_non_exhaustive()
    }
}
