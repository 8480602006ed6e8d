//! Gmail: mailboxes, history and watches
//! (<https://developers.google.com/workspace/gmail/api/reference/rest>).

mod batch;
mod fields;
mod history;
mod labels;
mod mail;
mod mailbox;
mod messages;
mod modify;
mod payload;
mod quota;
mod quoted_printable;
mod request;
mod routes;
mod threads;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;

pub use self::mail::NotAMail;
use self::mailbox::{Mailbox, Stored};
pub use self::quota::CountedCalls;
use self::quota::Quota;
pub(crate) use self::routes::routes;
use crate::clock::Clock;
use crate::pubsub::PubSub;
use crate::rng::Rng;

/// Labels of an ordinary new mail.
const NEW_MAIL: [&str; 2] = ["INBOX", "UNREAD"];

/// Gmail: mailboxes, history and watches.
#[derive(Debug)]
pub struct Gmail {
    clock: Arc<Clock>,
    pubsub: Arc<PubSub>,
    rng: Rng,
    mailboxes: Mutex<BTreeMap<String, Mailbox>>,
    /// Whether to drop notifications above one per second and mailbox, as Gmail does.
    drops_above_one_a_second: std::sync::atomic::AtomicBool,
    quota: Mutex<Quota>,
}

/// A mail in a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivered {
    /// Message id.
    pub message_id: String,
    /// Thread id.
    pub thread_id: String,
    /// History id of the change.
    pub history_id: u64,
}

impl Gmail {
    pub(crate) fn new(clock: Arc<Clock>, pubsub: Arc<PubSub>) -> Self {
        Self {
            clock,
            pubsub,
            rng: Rng::seeded(0x6a11),
            mailboxes: Mutex::default(),
            drops_above_one_a_second: false.into(),
            quota: Mutex::default(),
        }
    }

    /// Creates a mailbox if it does not exist.
    pub fn add_mailbox(&self, email: &str) {
        self.with(email, |_| ());
    }

    /// Adds an address whose mail comes to the mailbox of `email`.
    pub fn add_alias(&self, email: &str, alias: &str) {
        self.with(email, |mailbox| mailbox.aliases.push(alias.to_owned()));
    }

    /// Adds a new mail to the inbox of `email` and publishes to its watch.
    ///
    /// # Errors
    ///
    /// [`NotAMail`] if the bytes are not a mail. Broken mails are accepted.
    pub fn deliver(&self, email: &str, rfc5322: &[u8]) -> Result<Delivered, NotAMail> {
        self.deliver_with_labels(email, rfc5322, &NEW_MAIL)
    }

    /// Like `deliver`, with other labels.
    ///
    /// # Errors
    ///
    /// [`NotAMail`]
    pub fn deliver_with_labels(
        &self,
        email: &str,
        rfc5322: &[u8],
        labels: &[&str],
    ) -> Result<Delivered, NotAMail> {
        mail::check(rfc5322)?;
        let stored = Stored::of(rfc5322, labels, self.clock.now_millis());
        let delivered = self.with(email, |mailbox| mailbox.add(stored, &self.rng));
        self.notify(email, labels);
        Ok(delivered)
    }

    /// Deletes a message permanently. Returns whether it existed.
    pub fn delete(&self, email: &str, message_id: &str) -> bool {
        let deleted = self.with(email, |mailbox| mailbox.delete(message_id, &self.rng));
        if deleted {
            self.notify(email, &NEW_MAIL);
        }
        deleted
    }

    /// Changes the labels of a message. Returns whether it exists.
    pub fn relabel(&self, email: &str, message_id: &str, add: &[&str], remove: &[&str]) -> bool {
        let touched = self.with(email, |mailbox| {
            mailbox.relabel(message_id, add, remove, &self.rng)
        });
        let Some(touched) = touched else {
            return false;
        };
        let labels: Vec<_> = touched.iter().map(String::as_str).collect();
        self.notify(email, &labels);
        true
    }

    /// Expires the history: listing from an earlier history id gives 404.
    pub fn expire_history(&self, email: &str) {
        self.with(email, Mailbox::expire_history);
    }

    /// Current history id of a mailbox.
    #[must_use]
    pub fn history_id(&self, email: &str) -> u64 {
        self.with(email, |mailbox| mailbox.history_id)
    }

    /// Drops notifications above one per second and mailbox, as Gmail documents. Off by default.
    pub fn drop_above_one_a_second(&self, drops: bool) {
        self.drops_above_one_a_second
            .store(drops, std::sync::atomic::Ordering::Relaxed);
    }

    /// Sets how many units the calls of each mailbox may cost in a minute; `None`, as at the start, is without a limit.
    /// Calls above that are answered 429.
    pub fn set_units_per_minute(&self, units: Option<u32>) {
        self.quota.lock().set(units);
    }

    /// The calls since the quota was set. Without one, none is counted.
    #[must_use]
    pub fn counted_calls(&self) -> CountedCalls {
        self.quota.lock().calls()
    }

    /// Runs `act` on a mailbox, creating it if needed.
    fn with<T>(&self, email: &str, action: impl FnOnce(&mut Mailbox) -> T) -> T {
        let email = email.to_lowercase();
        let mut mailboxes = self.mailboxes.lock();
        let mailbox = mailboxes
            .entry(email.clone())
            .or_insert_with(|| Mailbox::new(email, self.clock.now_seconds(), &self.rng));
        action(mailbox)
    }

    /// Publishes a change of a mailbox to each watch that covers one of these labels.
    fn notify(&self, email: &str, labels: &[&str]) {
        self.notify_watches(email, labels, |_| true);
    }

    /// The same to the watches of those projects alone for which `is_meant` holds.
    fn notify_watches(&self, email: &str, labels: &[&str], is_meant: impl Fn(&str) -> bool) {
        let now = self.clock.now_millis();
        let drops = self
            .drops_above_one_a_second
            .load(std::sync::atomic::Ordering::Relaxed);
        let (topics, history_id) = self.with(email, |mailbox| {
            let covering = mailbox.watches.iter_mut().filter(|(project, watch)| {
                let is_on = now < watch.expires_at && watch.is_for(labels);
                is_on && is_meant(project) && !(drops && now < watch.last_notified + 1000)
            });
            let topics = covering.map(|(_, watch)| {
                watch.last_notified = now;
                watch.topic.clone()
            });
            let topics: Vec<_> = topics.collect();
            (topics, mailbox.history_id)
        });
        // On the wire the id is a number, although the guide shows a string.
        let data = json!({ "emailAddress": email.to_lowercase(), "historyId": history_id });
        for topic in topics {
            self.pubsub.publish(&topic, data.to_string().as_bytes());
        }
    }
}
