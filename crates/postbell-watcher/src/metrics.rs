//! The watcher's metrics, for Prometheus. None names a mailbox or a message.

use postbell_core::{ProblemCode, Timestamp};
use postbell_protocol::watch_state::WatchState;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::health::assess;

/// The watcher's metrics.
pub(crate) struct Metrics {
    registry: Registry,
    hooks: Family<HookResult, Counter>,
    pushes_refused: Counter,
    spans_dropped: Counter,
    problem: Family<Problem, Gauge>,
    dead_letters: Gauge,
    last_accepted: Gauge,
    last_sync: Gauge,
    expires: Gauge,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct HookResult {
    result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Problem {
    code: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every metric.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("postbell_watch");
        let hooks = Family::default();
        registry.register("hooks", "Webhook calls by result", hooks.clone());
        let pushes_refused = Counter::default();
        let help = "Pushes that proved no sender";
        registry.register("pushes_refused", help, pushes_refused.clone());
        let spans_dropped = Counter::default();
        let help = "Spans of this process that the OTLP collector did not take";
        registry.register("spans_dropped", help, spans_dropped.clone());
        let problem = Family::default();
        let help = "1 for the problem that keeps mail from getting through, else 0";
        registry.register("problem", help, problem.clone());
        let dead_letters = Gauge::default();
        let help = "Mails that were set aside";
        registry.register("dead_letters", help, dead_letters.clone());
        let mut time = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
            gauge
        };
        Self {
            last_accepted: time(
                "last_accepted_timestamp",
                "When the webhook had accepted everything, 0 if never",
            ),
            last_sync: time(
                "last_sync_timestamp",
                "When the mailbox was last read, 0 if never",
            ),
            expires: time(
                "expires_timestamp",
                "When Gmail's watch expires, 0 if it was never started",
            ),
            registry,
            hooks,
            pushes_refused,
            spans_dropped,
            problem,
            dead_letters,
        }
    }

    /// Counts a webhook call.
    pub(crate) fn hook_ended(&self, is_accepted: bool) {
        let result = if is_accepted { "accepted" } else { "refused" };
        self.hooks.get_or_create(&HookResult { result }).inc();
    }

    /// Counts a push that proved no sender.
    pub(crate) fn push_refused(&self) {
        self.pushes_refused.inc();
    }

    /// Sets the number of spans that were dropped since the start.
    pub(crate) fn spans_dropped(&self, total: u64) {
        let known = self.spans_dropped.get();
        self.spans_dropped.inc_by(total.saturating_sub(known));
    }

    /// Returns all metrics in the OpenMetrics text format, with the present state.
    pub(crate) fn encode(&self, state: &WatchState, now: Timestamp) -> String {
        let problem = assess(state, now).problem;
        for code in ProblemCode::ALL {
            let is_it = problem.as_ref().is_some_and(|found| found.code == code);
            let label = Problem {
                code: code.as_str(),
            };
            self.problem.get_or_create(&label).set(is_it.into());
        }
        let count = i64::try_from(state.dead_letters.len()).unwrap_or(i64::MAX);
        self.dead_letters.set(count);
        let seconds = |millis: i64| Timestamp::from_millis(millis).as_secs();
        self.last_accepted.set(seconds(state.last_accepted_at_ms));
        self.last_sync.set(seconds(state.last_poll_at_ms));
        let expires = state.expires_at().map_or(0, Timestamp::as_secs);
        self.expires.set(expires);
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use postbell_testkit::assert_has_named_metrics;

    use super::*;

    #[test]
    fn what_alerts_and_dashboard_name_is_there() {
        let metrics = Metrics::new();
        metrics.hook_ended(true);
        let text = metrics.encode(&WatchState::default(), Timestamp::default());
        assert_has_named_metrics(&text, "postbell_watch_");
    }
}
