//! A subscription and its settings.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use crate::policy::Policy;

/// Default acknowledgement deadline.
const ACK_DEADLINE: u64 = 10;

/// Default waits of a retry policy.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

/// Topic name of a subscription whose topic was deleted.
const DELETED_TOPIC: &str = "_deleted-topic_";

/// A subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) name: String,
    topic: Mutex<String>,
    /// The resource as given; the getters parse it.
    settings: Mutex<Value>,
    pub(super) policy: Mutex<Policy>,
    pub(super) backlog: Backlog,
    /// Held by each open stream.
    pub(super) open: Arc<()>,
    /// Cancelled on deletion.
    pub(super) deleted: CancellationToken,
}

impl Subscription {
    pub(super) fn new(
        name: &str,
        topic: &str,
        settings: Value,
        deleted: CancellationToken,
    ) -> Self {
        Self {
            name: name.to_owned(),
            topic: Mutex::new(topic.to_owned()),
            settings: Mutex::new(settings),
            policy: Mutex::default(),
            backlog: Backlog::default(),
            open: Arc::default(),
            deleted,
        }
    }

    /// The project that the subscription is in.
    pub(super) fn project(&self) -> &str {
        self.name.split('/').nth(1).unwrap_or_default()
    }

    pub(super) fn is_of(&self, topic: &str) -> bool {
        *self.topic.lock() == topic
    }

    /// Its topic was deleted. A new topic of the same name is a different one
    /// (<https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions>).
    pub(super) fn detach_topic(&self) {
        DELETED_TOPIC.clone_into(&mut self.topic.lock());
    }

    /// Whether its filter matches these attributes. Supports `attributes.KEY = "VALUE"`
    /// (<https://cloud.google.com/pubsub/docs/subscription-message-filter>).
    pub(super) fn matches(&self, attributes: &Map<String, Value>) -> bool {
        let settings = self.settings.lock();
        let filter = settings["filter"].as_str().unwrap_or_default();
        let wanted = filter.strip_prefix("attributes.");
        let Some((key, value)) = wanted.and_then(|wanted| wanted.split_once(" = ")) else {
            return true;
        };
        let has = attributes.get(key).and_then(Value::as_str);
        has == Some(value.trim_matches('"'))
    }

    /// Number of open streams.
    pub(super) fn streams(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }

    pub(super) fn unacknowledged(&self) -> usize {
        self.backlog.len()
    }

    /// Updates the named fields.
    pub(super) fn update(&self, fields: &[&str], from: &Value) {
        let mut settings = self.settings.lock();
        for field in fields {
            settings[field] = from[field].clone();
        }
        drop(settings);
        self.backlog.arrivals.notify_one();
    }

    pub(super) fn json(&self) -> Value {
        let mut json = self.settings.lock().clone();
        json["name"] = self.name.clone().into();
        json["topic"] = self.topic.lock().clone().into();
        json["state"] = "ACTIVE".into();
        json["ackDeadlineSeconds"] = self.deadline(&json).as_secs().into();
        for (field, default) in [
            ("pushConfig", json!({})),
            ("messageRetentionDuration", json!("604800s")),
            ("expirationPolicy", json!({ "ttl": "2678400s" })),
        ] {
            if json[field].is_null() {
                json[field] = default;
            }
        }
        json
    }

    /// Acknowledgement deadline, which is also the time-out of a push.
    pub(super) fn ack_deadline(&self) -> Duration {
        self.deadline(&self.settings.lock())
    }

    fn deadline(&self, settings: &Value) -> Duration {
        let seconds = settings["ackDeadlineSeconds"]
            .as_u64()
            .filter(|seconds| *seconds > 0);
        Duration::from_secs(seconds.unwrap_or(ACK_DEADLINE).clamp(10, 600))
    }

    /// The push endpoint, if any.
    pub(super) fn push_config(&self) -> Option<PushConfig> {
        let settings = self.settings.lock();
        let push = &settings["pushConfig"];
        let endpoint = push["pushEndpoint"]
            .as_str()
            .filter(|endpoint| !endpoint.is_empty())?;
        let token = &push["oidcToken"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(PushConfig {
            endpoint: endpoint.to_owned(),
            service_account: text(&token["serviceAccountEmail"]),
            audience: text(&token["audience"]).filter(|audience| !audience.is_empty()),
            is_unwrapped: push["noWrapper"].is_object(),
            writes_metadata: push["noWrapper"]["writeMetadata"]
                .as_bool()
                .unwrap_or(false),
            counts_attempts: settings["deadLetterPolicy"].is_object(),
        })
    }

    /// Wait before the next attempt; zero without a retry policy.
    pub(super) fn retry_wait(&self, attempts: u32) -> Duration {
        let settings = self.settings.lock();
        let policy = &settings["retryPolicy"];
        if !policy.is_object() {
            return Duration::ZERO;
        }
        let shortest = seconds(&policy["minimumBackoff"]).unwrap_or(SHORTEST_BACKOFF);
        let longest = seconds(&policy["maximumBackoff"]).unwrap_or(LONGEST_BACKOFF);
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        shortest.saturating_mul(doubled).min(longest)
    }
}

/// Push endpoint and OIDC settings.
#[derive(Clone, Debug)]
pub(super) struct PushConfig {
    pub(super) endpoint: String,
    pub(super) service_account: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) is_unwrapped: bool,
    pub(super) writes_metadata: bool,
    pub(super) counts_attempts: bool,
}

/// Parses Google's duration format: `10s`, `0.5s`.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds: f64 = value.as_str()?.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
