//! Cloud Pub/Sub: topics, subscriptions, and pushes with a signed token
//! (<https://cloud.google.com/pubsub/docs/reference/rest>).

mod backlog;
mod policy;
mod push;
mod pusher;
mod routes;
mod streaming_pull;
mod subscription;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use serde_json::{Map, Value};

use self::policy::Policy;
pub(crate) use self::routes::{prepare, routes};
use self::subscription::Subscription;
use crate::clock::Clock;

/// Cloud Pub/Sub: topics, subscriptions, and pushes with a signed token.
#[derive(Debug)]
pub struct PubSub {
    clock: Arc<Clock>,
    desk: Mutex<Desk>,
    next_message: AtomicU64,
    /// The longest that a push waits before it is repeated, in milliseconds.
    longest_wait: AtomicU64,
}

#[derive(Debug, Default)]
struct Desk {
    topics: BTreeMap<String, Topic>,
    subscriptions: BTreeMap<String, Arc<Subscription>>,
}

#[derive(Debug, Default)]
struct Topic {
    policy: Policy,
    settings: Map<String, Value>,
}

/// A message as it was published.
#[derive(Debug)]
struct Message {
    id: String,
    /// Base64, padded, of the standard alphabet.
    data: String,
    attributes: Map<String, Value>,
    published_at: String,
    ordering_key: String,
}

impl PubSub {
    pub(crate) fn new(clock: Arc<Clock>) -> Self {
        Self {
            clock,
            desk: Mutex::default(),
            next_message: AtomicU64::new(2_070_443_601_311_540),
            longest_wait: AtomicU64::new(600_000),
        }
    }

    /// Bounds the wait before a push is repeated, whatever its subscription says: a test has less
    /// time than Google.
    pub fn repeat_within(&self, longest: Duration) {
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.longest_wait.store(millis, Ordering::Relaxed);
    }

    fn longest_wait(&self) -> Duration {
        Duration::from_millis(self.longest_wait.load(Ordering::Relaxed))
    }

    /// Publishes a message without attributes; nothing happens where there is no such topic.
    pub fn publish(&self, topic: &str, data: &[u8]) {
        let data = BASE64_STANDARD.encode(data);
        self.publish_message(topic, data, Map::new(), String::new());
    }

    /// How many messages of a subscription are not acknowledged yet.
    #[must_use]
    pub fn unacknowledged(&self, subscription: &str) -> usize {
        self.subscription(subscription)
            .map_or(0, |subscription| subscription.unacknowledged())
    }

    /// Completes once everything that a subscription holds is acknowledged.
    pub async fn drained(&self, subscription: &str) {
        if let Some(subscription) = self.subscription(subscription) {
            subscription.backlog.drained().await;
        }
    }

    /// Whether Gmail may publish to a topic; `None` where there is none.
    pub(crate) fn lets_gmail_publish(&self, topic: &str) -> Option<bool> {
        let desk = self.desk.lock();
        desk.topics
            .get(topic)
            .map(|topic| topic.policy.lets_gmail_publish())
    }

    fn publish_message(
        &self,
        topic: &str,
        data: String,
        attributes: Map<String, Value>,
        ordering_key: String,
    ) -> Option<String> {
        let desk = self.desk.lock();
        if !desk.topics.contains_key(topic) {
            return None;
        }
        let id = self
            .next_message
            .fetch_add(1, Ordering::Relaxed)
            .to_string();
        let message = Arc::new(Message {
            id: id.clone(),
            data,
            attributes,
            published_at: self.clock.now_rfc3339(),
            ordering_key,
        });
        for subscription in desk.subscriptions.values().filter(|one| one.is_of(topic)) {
            subscription.backlog.add(Arc::clone(&message));
        }
        Some(id)
    }

    fn subscription(&self, name: &str) -> Option<Arc<Subscription>> {
        self.desk.lock().subscriptions.get(name).cloned()
    }
}
