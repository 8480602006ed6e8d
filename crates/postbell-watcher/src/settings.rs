//! What the operator decides about an account's watcher.

use std::num::NonZeroUsize;
use std::time::Duration;

use postbell_core::Tracer;
use postbell_google::HistoryType;
use postbell_mail::{BodyWanted, HeaderName};

use crate::extras::Extras;
use crate::failing::MessageRetries;
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

    /// Further header fields that are delivered.
    pub headers: Vec<HeaderName>,

    /// What is delivered beyond the messages themselves.
    pub extras: Extras,

    /// The largest number of messages in one webhook request.
    pub messages_per_hook: NonZeroUsize,

    /// The delay before a second sync if the first found nothing: Gmail's index can lag behind its
    /// notification.
    pub fetch_delay: Duration,

    /// When the mailbox is synced without a notification, and how long a push waits.
    pub times: SyncTimes,

    /// When a message that failed alone is tried again.
    pub retries: MessageRetries,

    /// Returns a random number from 0 to 1, so that watchers that failed together do not retry
    /// together.
    pub jitter: fn() -> f64,

    /// Continues the traces of notifications.
    pub tracer: Tracer,
}

/// When a mailbox is synced without a notification, and how long a push waits for its sync.
#[derive(Clone, Copy, Debug)]
pub struct SyncTimes {
    /// The time between two polls: Google may drop a push
    /// (<https://developers.google.com/workspace/gmail/api/guides/push>).
    pub poll: Duration,
    /// The wait after a failed sync; doubled for each further failure.
    pub first_wait: Duration,
    /// The longest wait after a failed sync, unless the webhook or Gmail asks for more.
    pub longest_wait: Duration,
    /// How long a push waits: the controller and the relay give up after 28 s.
    pub push_wait: Duration,
}

impl Default for SyncTimes {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(10 * 60),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(5 * 60),
            push_wait: Duration::from_secs(25),
        }
    }
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
            headers: Vec::new(),
            extras: Extras::default(),
            messages_per_hook: MESSAGES_PER_HOOK,
            fetch_delay: Duration::from_secs(3),
            times: SyncTimes::default(),
            retries: MessageRetries::default(),
            jitter: || 0.5,
            tracer: Tracer::new(|| 1),
        }
    }

    /// Returns whether a message with these labels is not delivered. A mail to oneself has `SENT`
    /// and `INBOX`: it was received, too.
    pub(crate) fn excludes(&self, labels: &[String]) -> bool {
        let is_received = labels.iter().any(|label| label == "INBOX");
        let excluded = |label: &&String| self.exclude_labels.contains(label);
        labels
            .iter()
            .filter(excluded)
            .any(|label| label != "SENT" || !is_received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sent_mail_is_excluded_unless_it_was_received_too() {
        let settings = WatcherSettings::new("a@b".to_owned(), PushAuth::default());
        let excludes = |labels: &[&str]| {
            let labels: Vec<_> = labels.iter().map(|label| (*label).to_owned()).collect();
            settings.excludes(&labels)
        };
        assert!(excludes(&["SENT"]));
        assert!(excludes(&["SENT", "UNREAD"]));
        assert!(!excludes(&["SENT", "INBOX"]));
        assert!(!excludes(&["INBOX"]));
        assert!(excludes(&["INBOX", "SPAM"]));
        assert!(excludes(&["SENT", "INBOX", "TRASH"]));
    }
}
