//! Gmail: mailboxes, their history, and who is told of it
//! (<https://developers.google.com/workspace/gmail/api/reference/rest>).

mod history;
mod mail;
mod mailbox;
mod messages;
mod payload;
mod routes;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;

pub use self::mail::NotAMail;
use self::mailbox::{Mailbox, Stored};
pub(crate) use self::routes::routes;
use crate::clock::Clock;
use crate::dice::Dice;
use crate::pubsub::PubSub;

/// What an ordinary new mail carries.
const NEW_MAIL: [&str; 2] = ["INBOX", "UNREAD"];

/// Gmail: mailboxes, their history, and who is told of it.
#[derive(Debug)]
pub struct Gmail {
    clock: Arc<Clock>,
    pubsub: Arc<PubSub>,
    dice: Dice,
    mailboxes: Mutex<BTreeMap<String, Mailbox>>,
    /// Whether notifications above one a second for a mailbox are dropped, as Gmail does.
    drops_above_one_a_second: std::sync::atomic::AtomicBool,
}

/// A mail that is in a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivered {
    /// The message's id.
    pub message_id: String,
    /// Its conversation's.
    pub thread_id: String,
    /// The change that it made.
    pub history_id: u64,
}

impl Gmail {
    pub(crate) fn new(clock: Arc<Clock>, pubsub: Arc<PubSub>) -> Self {
        Self {
            clock,
            pubsub,
            dice: Dice::seeded(0x6a11),
            mailboxes: Mutex::default(),
            drops_above_one_a_second: false.into(),
        }
    }

    /// Makes a mailbox, unless there is one.
    pub fn add_mailbox(&self, email: &str) {
        self.with(email, |_| ());
    }

    /// Puts a new mail into the inbox of `email`, and tells those who watch.
    ///
    /// # Errors
    ///
    /// [`NotAMail`] where the bytes are no mail at all. Whatever is one, however broken, is taken.
    pub fn deliver(&self, email: &str, rfc5322: &[u8]) -> Result<Delivered, NotAMail> {
        self.deliver_with_labels(email, rfc5322, &NEW_MAIL)
    }

    /// The same, with other labels.
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
        let delivered = self.with(email, |mailbox| mailbox.add(stored, &self.dice));
        self.notify(email, labels);
        Ok(delivered)
    }

    /// Deletes a message for good, and returns whether there was one.
    pub fn delete(&self, email: &str, message_id: &str) -> bool {
        let deleted = self.with(email, |mailbox| mailbox.delete(message_id, &self.dice));
        if deleted {
            self.notify(email, &NEW_MAIL);
        }
        deleted
    }

    /// Forgets the history up to now: to list it from any earlier place gives 404.
    pub fn expire_history(&self, email: &str) {
        self.with(email, Mailbox::expire_history);
    }

    /// How far a mailbox has come.
    #[must_use]
    pub fn history_id(&self, email: &str) -> u64 {
        self.with(email, |mailbox| mailbox.history_id)
    }

    /// Drops notifications above one a second for a mailbox, as Gmail documents; off at first.
    pub fn drop_above_one_a_second(&self, drops: bool) {
        self.drops_above_one_a_second
            .store(drops, std::sync::atomic::Ordering::Relaxed);
    }

    /// Does something with a mailbox, which is made where there is none.
    fn with<T>(&self, email: &str, action: impl FnOnce(&mut Mailbox) -> T) -> T {
        let email = email.to_lowercase();
        let mut mailboxes = self.mailboxes.lock();
        let mailbox = mailboxes
            .entry(email.clone())
            .or_insert_with(|| Mailbox::new(email, self.clock.now_seconds(), &self.dice));
        action(mailbox)
    }

    /// Publishes that a mailbox changed, where a watch is on for one of these labels.
    fn notify(&self, email: &str, labels: &[&str]) {
        let now = self.clock.now_millis();
        let drops = self
            .drops_above_one_a_second
            .load(std::sync::atomic::Ordering::Relaxed);
        let told = self.with(email, |mailbox| {
            let watch = mailbox.watch.as_mut()?;
            let is_on = now < watch.expires_at && watch.is_for(labels);
            if !is_on || (drops && now < watch.last_notified + 1000) {
                return None;
            }
            watch.last_notified = now;
            Some((watch.topic.clone(), mailbox.history_id))
        });
        if let Some((topic, history_id)) = told {
            // On the wire the id is a number, whatever the guide shows.
            let data = json!({ "emailAddress": email.to_lowercase(), "historyId": history_id });
            self.pubsub.publish(&topic, data.to_string().as_bytes());
        }
    }
}
