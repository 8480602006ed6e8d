//! Records when a notification reaches each hop, as middleware around the parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use postbell_core::Clock;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// A part whose requests are traced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hop {
    /// The relay's push endpoint.
    Relay,
    /// The controller's push endpoint.
    Controller,
    /// The watcher's push endpoint.
    Watcher,
}

/// Latency of a mail at each hop, in milliseconds. The sum is the end-to-end latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Hops {
    /// From Gmail through Pub/Sub to the relay.
    pub pubsub: f64,
    /// In the relay: token verified, notification stored, 204 sent.
    pub relay: f64,
    /// In the queue, until the controller receives it.
    pub inbox: f64,
    /// In the controller, until the watcher receives it.
    pub controller: f64,
    /// In the watcher: read from Gmail and posted to the bot.
    pub watcher: f64,
}

/// Records when notifications reach the hops. Clones share the records.
#[derive(Clone)]
pub struct HopTracer {
    clock: Arc<dyn Clock>,
    records: Arc<Mutex<Records>>,
    /// Notified when the controller has answered a notification.
    completed: Arc<Notify>,
}

#[derive(Default)]
struct Records {
    /// Passage through the relay by history id.
    relay: BTreeMap<u64, RelayPassage>,
    /// Latest arrivals behind the queue, where at most one delivery is in flight.
    controller: Option<(u64, Duration)>,
    watcher: Option<(u64, Duration)>,
}

#[derive(Clone, Copy)]
struct RelayPassage {
    received: Duration,
    answered: Option<Duration>,
}

#[derive(Deserialize)]
struct Push {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    history_id: serde_json::Value,
}

impl HopTracer {
    /// Creates a tracer without records.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            records: Arc::default(),
            completed: Arc::default(),
        }
    }

    /// Wraps routes so that each request and answer is recorded.
    pub fn wrap(&self, hop: Hop, router: Router) -> Router {
        router.layer(from_fn_with_state((self.clone(), hop), trace))
    }

    /// Returns the latencies of a mail that Gmail received at `sent` under `history_id`, and the bot
    /// at `arrived`.
    ///
    /// A sync that an earlier notification triggered may already deliver the mail. The hops that it
    /// did not pass then take no time.
    #[must_use]
    pub fn hops(&self, history_id: u64, sent: Duration, arrived: Duration) -> Hops {
        let records = self.records.lock();
        let own = records.relay.get(&history_id);
        let mut at = sent;
        let mut until = |milestone: Option<Duration>| {
            let before = at;
            at = milestone.unwrap_or(at).clamp(at, arrived.max(at));
            millis(at - before)
        };
        Hops {
            pubsub: until(own.map(|passage| passage.received)),
            relay: until(own.and_then(|passage| passage.answered)),
            inbox: until(records.controller.map(|(_, received)| received)),
            controller: until(records.watcher.map(|(_, received)| received)),
            watcher: until(Some(arrived)),
        }
    }

    /// Completes when the next notification has passed the whole path.
    pub async fn completed(&self) {
        self.completed.notified().await;
    }

    fn record_arrival(&self, hop: Hop, history_id: u64) {
        let now = self.clock.elapsed();
        let mut records = self.records.lock();
        match hop {
            Hop::Relay => {
                let passage = RelayPassage {
                    received: now,
                    answered: None,
                };
                records.relay.entry(history_id).or_insert(passage);
            }
            Hop::Controller => records.controller = Some((history_id, now)),
            Hop::Watcher => records.watcher = Some((history_id, now)),
        }
    }

    fn record_answer(&self, hop: Hop, history_id: u64) {
        match hop {
            Hop::Relay => {
                if let Some(passage) = self.records.lock().relay.get_mut(&history_id) {
                    passage.answered.get_or_insert(self.clock.elapsed());
                }
            }
            Hop::Controller => self.completed.notify_one(),
            Hop::Watcher => (),
        }
    }
}

/// Converts a duration to milliseconds, rounded to microseconds.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

async fn trace(
    State((tracer, hop)): State<(HopTracer, Hop)>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let history_id = history_id(&body);
    if let Some(history_id) = history_id {
        tracer.record_arrival(hop, history_id);
    }
    let answer = next.run(Request::from_parts(parts, Body::from(body))).await;
    if let Some(history_id) = history_id.filter(|_| answer.status().is_success()) {
        tracer.record_answer(hop, history_id);
    }
    answer
}

fn history_id(body: &Bytes) -> Option<u64> {
    let push: Push = serde_json::from_slice(body).ok()?;
    let data = BASE64_STANDARD.decode(push.message.data).ok()?;
    let data: Data = serde_json::from_slice(&data).ok()?;
    data.history_id
        .as_u64()
        .or_else(|| data.history_id.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use postbell_core::SystemClock;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn tracer() -> HopTracer {
        let tracer = HopTracer::new(Arc::new(SystemClock::new()));
        let passage = RelayPassage {
            received: 12 * MS,
            answered: Some(15 * MS),
        };
        let mut records = tracer.records.lock();
        records.relay.insert(7, passage);
        records.controller = Some((7, 16 * MS));
        records.watcher = Some((7, 18 * MS));
        drop(records);
        tracer
    }

    #[test]
    fn hops_add_up_to_the_total() {
        let hops = tracer().hops(7, 10 * MS, 28 * MS);
        let expected = Hops {
            pubsub: 2.0,
            relay: 3.0,
            inbox: 1.0,
            controller: 2.0,
            watcher: 10.0,
        };
        assert_eq!(hops, expected);
    }

    #[test]
    fn skipped_hops_take_no_time() {
        let hops = tracer().hops(8, 17 * MS, 28 * MS);
        let expected = Hops {
            controller: 1.0,
            watcher: 10.0,
            ..Hops::default()
        };
        assert_eq!(hops, expected);
    }
}
