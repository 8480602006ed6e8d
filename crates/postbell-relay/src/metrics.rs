//! The relay's metrics, for Prometheus.

use std::time::Duration;

use postbell_core::{Accepted, Depth, Outcome, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The relay's metrics.
pub struct Metrics {
    registry: Registry,
    pushes: Family<Push, Counter>,
    deliveries: Family<Delivered, Counter>,
    push_seconds: Histogram,
    delivery_seconds: Histogram,
    waited_seconds: Histogram,
    waiting: Gauge,
    oldest_waiting_seconds: Gauge,
    parked: Gauge,
    dead_letters: Gauge,
    dead_letters_dropped: Gauge,
    spans_dropped: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Push {
    result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Delivered {
    outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every metric, at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("postbell_relay");
        let pushes = Family::default();
        registry.register("pushes", "Pushes by result", pushes.clone());
        let deliveries = Family::default();
        let help = "Deliveries to machines by outcome";
        registry.register("deliveries", help, deliveries.clone());
        let waiting = Gauge::default();
        let help = "Mailboxes with a notification that is pending or being delivered";
        registry.register("waiting_mailboxes", help, waiting.clone());
        let dead_letters = Gauge::default();
        registry.register("dead_letters", "Dead letters", dead_letters.clone());
        let dead_letters_dropped = Gauge::default();
        let help = "Dead letters that were deleted because their user had too many";
        registry.register("dead_letters_dropped", help, dead_letters_dropped.clone());
        let spans_dropped = Counter::default();
        let help = "Spans that the OTLP collector did not take";
        registry.register("spans_dropped", help, spans_dropped.clone());
        let parked = Gauge::default();
        let help = "Mailboxes whose notification waits until a problem of their machine is over";
        registry.register("parked_mailboxes", help, parked.clone());
        let oldest_waiting_seconds = Gauge::default();
        registry.register_with_unit(
            "oldest_waiting",
            "Age of the oldest pending notification",
            Unit::Seconds,
            oldest_waiting_seconds.clone(),
        );
        let mut seconds = |name: &str, help: &str, buckets: u16| {
            let histogram = Histogram::new(exponential_buckets(0.000_25, 4.0, buckets));
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
            histogram
        };
        Self {
            push_seconds: seconds("push", "Time from the head of a push to its response", 8),
            delivery_seconds: seconds(
                "delivery",
                "Time from the claim to the response of the machine",
                10,
            ),
            waited_seconds: seconds("waited", "Time from accepting to delivering", 14),
            registry,
            pushes,
            deliveries,
            waiting,
            oldest_waiting_seconds,
            parked,
            dead_letters,
            dead_letters_dropped,
            spans_dropped,
        }
    }

    pub(crate) fn accepted(&self, accepted: Accepted) {
        self.push_ended(accepted.as_str());
    }

    /// Counts a push by its result.
    pub(crate) fn push_ended(&self, result: &'static str) {
        self.pushes.get_or_create(&Push { result }).inc();
    }

    pub(crate) fn push_took(&self, took: Duration) {
        self.push_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn delivery_ended(&self, outcome: Outcome, took: Duration, waited: Duration) {
        if outcome == Outcome::Delivered {
            self.waited_seconds.observe(waited.as_secs_f64());
        }
        self.delivery_seconds.observe(took.as_secs_f64());
        let outcome = outcome.as_str();
        self.deliveries.get_or_create(&Delivered { outcome }).inc();
    }

    /// Sets the number of spans that were dropped since the start.
    pub(crate) fn spans_dropped(&self, total: u64) {
        let known = self.spans_dropped.get();
        self.spans_dropped.inc_by(total.saturating_sub(known));
    }

    /// Returns all metrics in the OpenMetrics text format, with the current depth of the queue.
    pub(crate) fn encode(&self, depth: Depth, now: Timestamp) -> Result<String, std::fmt::Error> {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.waiting.set(gauge(depth.pending));
        self.parked.set(gauge(depth.parked));
        self.dead_letters.set(gauge(depth.dead_letters));
        self.dead_letters_dropped
            .set(gauge(depth.dead_letters_dropped));
        let oldest = depth
            .oldest_accepted_at
            .map_or(0, |at| (now - at).as_secs());
        self.oldest_waiting_seconds.set(gauge(oldest));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use postbell_testkit::assert_has_named_metrics;

    use super::*;

    #[test]
    fn what_alerts_and_dashboard_name_is_there() {
        let metrics = Metrics::new();
        let took = Duration::from_millis(2);
        metrics.accepted(Accepted::Queued);
        metrics.delivery_ended(Outcome::Delivered, took, took);
        metrics.spans_dropped(3);
        metrics.spans_dropped(5);
        let text = metrics.encode(Depth::default(), Timestamp::default());
        let text = text.unwrap();
        assert!(
            text.contains("postbell_relay_spans_dropped_total 5"),
            "{text}"
        );
        assert_has_named_metrics(&text, "postbell_relay_");
    }
}
