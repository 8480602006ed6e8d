//! Gmail's notification that a mailbox has changed.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::{EmailAddress, HistoryId, MessageId, Timestamp, TraceContext, UserId};

/// A notification that a mailbox has changed up to a history id.
///
/// It is a cursor, not a mail: a later one covers all earlier ones of the same mailbox.
#[derive(Clone, Eq, PartialEq)]
pub struct Notification {
    /// The owner of the mailbox.
    pub user: UserId,

    /// The mailbox's address, if the message contains a valid one. History ids of different mailboxes
    /// cannot be compared.
    pub address: Option<EmailAddress>,

    /// Pub/Sub's id of the message.
    pub message_id: MessageId,

    /// When Pub/Sub received the message, by Pub/Sub's clock; a repeat has the same time
    /// (`publishTime`, <https://cloud.google.com/pubsub/docs/reference/rest/v1/PubsubMessage>). `None` if
    /// the message does not say. Of a pending notification, the time of the latest message that it
    /// stands for. Never later than the clock of the relay that received it.
    pub published_at: Option<Timestamp>,

    /// The mailbox's latest history id.
    pub history_id: HistoryId,

    /// The trace of the mail, which its delivery continues; `None` for one that a release without
    /// traces has stored.
    pub trace: Option<TraceContext>,

    /// The Pub/Sub body as received; it is posted to the controller unchanged.
    pub body: Bytes,
}

impl Notification {
    /// Returns the spelling of the address that stands for the mailbox; empty if it is unknown.
    #[must_use]
    pub fn mailbox_key(&self) -> Cow<'_, str> {
        let address = self.address.as_ref();
        address.map_or(Cow::Borrowed(""), EmailAddress::mailbox_key)
    }

    /// Returns whether its history id can be compared with one of `address`: it is the same mailbox, or
    /// one of the two is unknown.
    #[must_use]
    pub fn is_comparable(&self, address: Option<&EmailAddress>) -> bool {
        let (Some(own), Some(other)) = (&self.address, address) else {
            return true;
        };
        own == other || own.mailbox_key() == other.mailbox_key()
    }

    /// Returns the publish time of a pending notification of the same mailbox, `pending`, once it stands
    /// for this one, too.
    ///
    /// A later time than that of the claim says that a delivery in progress may have read the mailbox too
    /// early. A message that does not say when it was published counts as a later one then.
    #[must_use]
    pub fn merged_publish_time(
        &self,
        pending: Option<Timestamp>,
        is_in_progress: bool,
    ) -> Option<Timestamp> {
        match self.published_at {
            None if is_in_progress => Some(pending.unwrap_or_default() + Duration::from_millis(1)),
            own => own.max(pending),
        }
    }
}

impl fmt::Debug for Notification {
    /// Omits the address, and the body that contains it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification")
            .field("user", &self.user)
            .field("message_id", &self.message_id)
            .field("published_at", &self.published_at)
            .field("history_id", &self.history_id)
            .field("trace", &self.trace)
            .finish_non_exhaustive()
    }
}
