//! What the operator decides about an account's watcher.

use std::num::NonZeroUsize;
use std::time::Duration;

use postbell_google::HistoryType;
use postbell_mail::BodyWanted;

use crate::filter::Filter;
use crate::mailbox_identity::MailboxIdentity;
use crate::push_auth::PushAuth;

/// The default number of messages in one webhook request.
const MESSAGES_PER_HOOK: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// Settings of one account's watcher.
#[derive(Clone)]
pub struct WatcherSettings {
    /// The mailbox's address as configured: it names the state, and is part of the idempotency keys.
    pub account: String,

    /// The mailbox that the credentials open.
    pub identity: MailboxIdentity,

    /// The subscription that notifications are pulled from, as `projects/P/subscriptions/S`; empty if they
    /// are pushed. It is stored for those that check it.
    pub subscription: String,

    /// How a push is authenticated.
    pub push_auth: PushAuth,

    /// Messages with one of these labels are not delivered.
    pub exclude_labels: Vec<String>,

    /// The kinds of changes that are delivered.
    pub history_types: Vec<HistoryType>,

    /// Selects the messages that are delivered.
    pub filter: Filter,

    /// How much of a message's text is delivered.
    pub body: BodyWanted,

    /// The largest number of messages in one webhook request.
    pub messages_per_hook: NonZeroUsize,

    /// The delay before a second sync if the first found nothing: Gmail's index can lag behind its
    /// notification.
    pub fetch_delay: Duration,
}

impl WatcherSettings {
    /// The defaults of `gog`, except that no text is delivered unless the settings say so. The address
    /// is trusted to be the mailbox's.
    #[must_use]
    pub fn new(account: String, push_auth: PushAuth) -> Self {
        Self {
            identity: MailboxIdentity::trusted(&account),
            account,
            subscription: String::new(),
            push_auth,
            exclude_labels: ["SPAM", "TRASH", "DRAFT", "SENT"]
                .map(str::to_owned)
                .to_vec(),
            history_types: vec![HistoryType::MessageAdded],
            filter: Filter::default(),
            body: BodyWanted::No,
            messages_per_hook: MESSAGES_PER_HOOK,
            fetch_delay: Duration::from_secs(3),
        }
    }

    /// Returns whether a message with these labels is not delivered.
    pub(crate) fn excludes(&self, labels: &[String]) -> bool {
        labels
            .iter()
            .any(|label| self.exclude_labels.contains(label))
    }
}
