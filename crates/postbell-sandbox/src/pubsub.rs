//! Cloud Pub/Sub: topics, subscriptions, and pushes with a signed token
//! (<https://cloud.google.com/pubsub/docs/reference/rest>).

mod backlog;
mod grpc;
mod proto;
mod push;
mod pusher;
mod routes;
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

pub(crate) use self::routes::{prepare, routes};
use self::subscription::Subscription;
use crate::clock::Clock;
use crate::policy::Policy;

/// The member that publishes Gmail's notifications, and the roles that allow it.
const GMAIL: &str = "serviceAccount:gmail-api-push@system.gserviceaccount.com";
const PUBLISHER: &str = "roles/pubsub.publisher";
const PUBLISHING_ROLES: [&str; 3] = [PUBLISHER, "roles/pubsub.editor", "roles/pubsub.admin"];

/// Cloud Pub/Sub: topics, subscriptions, and pushes with a signed token.
#[derive(Debug)]
pub struct PubSub {
    clock: Arc<Clock>,
    state: Mutex<PubSubState>,
    next_message: AtomicU64,
    /// Maximum wait before a push is repeated, in milliseconds.
    longest_wait: AtomicU64,
}

#[derive(Debug, Default)]
struct PubSubState {
    topics: BTreeMap<String, Topic>,
    subscriptions: BTreeMap<String, Arc<Subscription>>,
}

#[derive(Debug, Default)]
struct Topic {
    policy: Policy,
    /// Checks that still use the old policy.
    unseen_by: u32,
    settings: Map<String, Value>,
}

/// A published message.
#[derive(Debug)]
struct Message {
    id: String,
    /// Standard base64 with padding.
    data: String,
    attributes: Map<String, Value>,
    published_at: String,
    ordering_key: String,
}

impl PubSub {
    pub(crate) fn new(clock: Arc<Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
            next_message: AtomicU64::new(2_070_443_601_311_540),
            longest_wait: AtomicU64::new(600_000),
        }
    }

    /// Bounds the wait before a push is repeated, regardless of the subscription, for short tests.
    pub fn repeat_within(&self, longest: Duration) {
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.longest_wait.store(millis, Ordering::Relaxed);
    }

    fn longest_wait(&self) -> Duration {
        Duration::from_millis(self.longest_wait.load(Ordering::Relaxed))
    }

    /// Creates a topic as the console does, unless it exists.
    pub fn put_topic(&self, topic: &str) {
        self.create_topic(topic, &Value::Null);
    }

    /// Deletes a topic outside of setup.
    pub fn remove_topic(&self, topic: &str) {
        self.delete_topic(topic);
    }

    /// Publishes a message without attributes. Does nothing if the topic does not exist.
    pub fn publish(&self, topic: &str, data: &[u8]) {
        let data = BASE64_STANDARD.encode(data);
        self.publish_message(topic, data, Map::new(), String::new());
    }

    /// Number of unacknowledged messages of a subscription.
    #[must_use]
    pub fn unacknowledged(&self, subscription: &str) -> usize {
        self.subscription(subscription)
            .map_or(0, |subscription| subscription.unacknowledged())
    }

    /// Number of streams that pull from a subscription.
    #[must_use]
    pub fn streams(&self, subscription: &str) -> usize {
        self.subscription(subscription)
            .map_or(0, |subscription| subscription.streams())
    }

    /// Completes once all messages of a subscription are acknowledged.
    pub async fn drained(&self, subscription: &str) {
        if let Some(subscription) = self.subscription(subscription) {
            subscription.backlog.drained().await;
        }
    }

    /// Whether Gmail may publish to a topic; `None` if the topic does not exist. Policy changes propagate
    /// with a delay.
    pub(crate) fn lets_gmail_publish(&self, topic: &str) -> Option<bool> {
        let mut state = self.state.lock();
        let topic = state.topics.get_mut(topic)?;
        if topic.unseen_by > 0 {
            topic.unseen_by -= 1;
            return Some(false);
        }
        Some(topic.policy.grants(&PUBLISHING_ROLES, GMAIL))
    }

    /// The topics and subscriptions of a project.
    #[must_use]
    pub fn inventory(&self, project: &str) -> Vec<String> {
        let state = self.state.lock();
        let names = state.topics.keys().chain(state.subscriptions.keys());
        let prefix = format!("projects/{project}/");
        names
            .filter(|name| name.starts_with(&prefix))
            .cloned()
            .collect()
    }

    /// The subscription resource.
    #[must_use]
    pub fn settings(&self, subscription: &str) -> Option<Value> {
        self.subscription(subscription)
            .map(|subscription| subscription.json())
    }

    /// Changes a setting of a subscription outside of setup.
    pub fn change(&self, subscription: &str, field: &str, value: Value) {
        if let Some(subscription) = self.subscription(subscription) {
            let mut changed = Value::Null;
            changed[field] = value;
            subscription.update(&[field], &changed);
        }
    }

    /// Adds a binding to a topic's policy outside of setup.
    pub fn add_binding(&self, topic: &str, binding: Value) {
        let mut state = self.state.lock();
        if let Some(topic) = state.topics.get_mut(topic) {
            let mut policy = topic.policy.json();
            match policy["bindings"].as_array_mut() {
                Some(bindings) => bindings.push(binding),
                None => policy["bindings"] = serde_json::json!([binding]),
            }
            topic.policy.set(&policy);
        }
    }

    /// The IAM policy of a topic.
    #[must_use]
    pub fn topic_policy(&self, topic: &str) -> Option<Value> {
        let state = self.state.lock();
        state.topics.get(topic).map(|topic| topic.policy.json())
    }

    fn publish_message(
        &self,
        topic: &str,
        data: String,
        attributes: Map<String, Value>,
        ordering_key: String,
    ) -> Option<String> {
        let state = self.state.lock();
        if !state.topics.contains_key(topic) {
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
        for subscription in state.subscriptions.values().filter(|one| one.is_of(topic)) {
            if !subscription.matches(&message.attributes) {
                continue;
            }
            subscription.backlog.add(Arc::clone(&message));
        }
        Some(id)
    }

    /// The names of a topic's subscriptions; `None` if the topic does not exist.
    fn subscriptions_of(&self, topic: &str) -> Option<Vec<String>> {
        let state = self.state.lock();
        state.topics.get(topic)?;
        let subscriptions = state.subscriptions.values().filter(|one| one.is_of(topic));
        Some(subscriptions.map(|one| one.name.clone()).collect())
    }

    fn subscription(&self, name: &str) -> Option<Arc<Subscription>> {
        self.state.lock().subscriptions.get(name).cloned()
    }
}
