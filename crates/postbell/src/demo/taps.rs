//! When a notification passed each hop, noted from outside the parts.

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

/// A part whose door is watched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Door {
    /// The relay's push endpoint.
    Relay,
    /// The controller's.
    Controller,
    /// The watcher's.
    Watcher,
}

/// How long a mail took on each part of its way, in milliseconds. Together they are the whole way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Hops {
    /// From Gmail through Pub/Sub to the relay's door.
    pub pubsub: f64,
    /// The relay: token checked, notification durable, 204 sent.
    pub relay: f64,
    /// In the inbox, until the controller has it.
    pub inbox: f64,
    /// The controller, until the watcher has it.
    pub controller: f64,
    /// The watcher: read from Gmail, and the bot has it.
    pub watcher: f64,
}

/// Notes when notifications pass the doors. A clone is a handle to the same notes.
#[derive(Clone)]
pub struct Taps {
    clock: Arc<dyn Clock>,
    notes: Arc<Mutex<Notes>>,
    /// Told when a notification has got through to the watcher, and back.
    got_through: Arc<Notify>,
}

#[derive(Default)]
struct Notes {
    /// By history id: when the push reached the relay, and when it was acknowledged.
    relay: BTreeMap<u64, Passage>,
    /// The latest passages of the doors behind the inbox, where one delivery is under way at most.
    controller: Option<(u64, Duration)>,
    watcher: Option<(u64, Duration)>,
}

#[derive(Clone, Copy)]
struct Passage {
    came: Duration,
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

impl Taps {
    /// Nothing noted yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            notes: Arc::default(),
            got_through: Arc::default(),
        }
    }

    /// The routes, with each request noted on its way in and out.
    pub fn watch(&self, door: Door, router: Router) -> Router {
        router.layer(from_fn_with_state((self.clone(), door), note_passage))
    }

    /// The way of a mail that came to Gmail at `sent` under `history_id`, and to the bot at
    /// `arrived`.
    ///
    /// A mail may be found before its own notification gets through, on a look that an earlier one
    /// caused: hops that it did not wait for took it no time.
    #[must_use]
    pub fn hops(&self, history_id: u64, sent: Duration, arrived: Duration) -> Hops {
        let notes = self.notes.lock();
        let own = notes.relay.get(&history_id);
        let mut at = sent;
        let mut until = |milestone: Option<Duration>| {
            let before = at;
            at = milestone.unwrap_or(at).clamp(at, arrived.max(at));
            millis(at - before)
        };
        Hops {
            pubsub: until(own.map(|passage| passage.came)),
            relay: until(own.and_then(|passage| passage.answered)),
            inbox: until(notes.controller.map(|(_, came)| came)),
            controller: until(notes.watcher.map(|(_, came)| came)),
            watcher: until(Some(arrived)),
        }
    }

    /// Completes when a notification has got through the whole path for the first time, or again.
    pub async fn got_through(&self) {
        self.got_through.notified().await;
    }

    fn note_arrival(&self, door: Door, history_id: u64) {
        let now = self.clock.elapsed();
        let mut notes = self.notes.lock();
        match door {
            Door::Relay => {
                let passage = Passage {
                    came: now,
                    answered: None,
                };
                notes.relay.entry(history_id).or_insert(passage);
            }
            Door::Controller => notes.controller = Some((history_id, now)),
            Door::Watcher => notes.watcher = Some((history_id, now)),
        }
    }

    fn note_answer(&self, door: Door, history_id: u64) {
        match door {
            Door::Relay => {
                if let Some(passage) = self.notes.lock().relay.get_mut(&history_id) {
                    passage.answered.get_or_insert(self.clock.elapsed());
                }
            }
            Door::Controller => self.got_through.notify_one(),
            Door::Watcher => (),
        }
    }
}

/// A duration in milliseconds, to the microsecond.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

async fn note_passage(
    State((taps, door)): State<(Taps, Door)>,
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
        taps.note_arrival(door, history_id);
    }
    let answer = next.run(Request::from_parts(parts, Body::from(body))).await;
    if let Some(history_id) = history_id.filter(|_| answer.status().is_success()) {
        taps.note_answer(door, history_id);
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

    fn taps() -> Taps {
        let taps = Taps::new(Arc::new(SystemClock::new()));
        let passage = Passage {
            came: 12 * MS,
            answered: Some(15 * MS),
        };
        let mut notes = taps.notes.lock();
        notes.relay.insert(7, passage);
        notes.controller = Some((7, 16 * MS));
        notes.watcher = Some((7, 18 * MS));
        drop(notes);
        taps
    }

    #[test]
    fn the_hops_add_up_to_the_whole_way() {
        let hops = taps().hops(7, 10 * MS, 28 * MS);
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
    fn hops_that_a_mail_did_not_wait_for_took_no_time() {
        let hops = taps().hops(8, 17 * MS, 28 * MS);
        let expected = Hops {
            controller: 1.0,
            watcher: 10.0,
            ..Hops::default()
        };
        assert_eq!(hops, expected);
    }
}
