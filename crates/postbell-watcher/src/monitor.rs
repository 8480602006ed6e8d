//! The routes for monitoring: `/health`, `/ready` and `/metrics`. Unauthenticated, so that nothing they
//! answer names a mailbox, a message or an address.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::RwLock;
use postbell_core::{Clock, ProblemCode, Timestamp, Tracer};
use postbell_protocol::watch_state::WatchState;
use serde_json::json;

use crate::health::{FoundProblem, assess};
use crate::metrics::Metrics;
use crate::state_store::StateStore;

/// The paths of the routes: no push endpoint can have one of them.
pub const MONITOR_PATHS: [&str; 3] = [HEALTH, READY, METRICS];

const HEALTH: &str = "/health";
const READY: &str = "/ready";
const METRICS: &str = "/metrics";

/// The last line of the metrics.
const END: &str = "# EOF";

/// The format of the answer (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers monitoring for one watcher. Cheap to clone.
#[derive(Clone)]
pub struct Monitor {
    pub(crate) state: Arc<StateStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tracer: Tracer,
}

/// Answers monitoring for all watchers of a process. Clones share them.
#[derive(Clone)]
pub struct Monitors(Arc<RwLock<Arc<All>>>);

struct All {
    watched: Vec<(String, Monitor)>,
    unwatched: Vec<Unwatched>,
}

/// A mailbox that should be watched, and could not be opened.
struct Unwatched {
    name: String,
    since: Timestamp,
    metrics: Metrics,
}

impl Unwatched {
    /// The state as monitoring sees it.
    fn state(&self) -> WatchState {
        WatchState {
            problem: "the mailbox is not watched: the log has the reason".to_owned(),
            problem_code: ProblemCode::Unknown.as_str().to_owned(),
            problem_since_ms: self.since.as_millis(),
            ..WatchState::default()
        }
    }
}

impl Monitor {
    /// The routes `/health`, `/ready` and `/metrics`.
    pub fn router(&self) -> Router {
        Monitors::new(vec![(String::new(), self.clone())]).router()
    }

    async fn found(&self) -> Option<FoundProblem> {
        assess(&self.state.snapshot().await, self.clock.now()).problem
    }

    async fn encode(&self) -> String {
        let state = self.state.snapshot().await;
        self.metrics.spans_dropped(self.tracer.dropped_spans());
        self.metrics.encode(&state, self.clock.now())
    }
}

impl Monitors {
    /// Each watcher has a name, which is public: no address. The name of an only one is not shown.
    #[must_use]
    pub fn new(monitors: Vec<(String, Monitor)>) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(All {
            watched: monitors,
            unwatched: Vec::new(),
        }))))
    }

    /// Replaces the watchers, and the mailboxes that could not be opened, by their names and since when: their mail does not
    /// get through.
    pub fn replace(
        &self,
        watched: Vec<(String, Monitor)>,
        unwatched: impl IntoIterator<Item = (String, Timestamp)>,
    ) {
        let unwatched = unwatched.into_iter().map(|(name, since)| Unwatched {
            name,
            since,
            metrics: Metrics::new(),
        });
        let unwatched = unwatched.collect();
        *self.0.write() = Arc::new(All { watched, unwatched });
    }

    /// The routes `/health`, `/ready` and `/metrics`.
    pub fn router(&self) -> Router {
        Router::new()
            .route(HEALTH, get(postbell_http::health))
            .route(READY, get(ready))
            .route(METRICS, get(metrics))
            .with_state(self.clone())
    }

    /// Returns what keeps the mail of a mailbox from getting through, and the name if there are several.
    pub async fn problem(&self) -> Option<(ProblemCode, Option<String>)> {
        let all = self.all();
        let (name, problem) = all.problems().await.into_iter().next()?;
        Some((problem.code, all.is_several().then_some(name)))
    }

    fn all(&self) -> Arc<All> {
        Arc::clone(&self.0.read())
    }
}

impl All {
    /// The problem of each mailbox that has one, with its name.
    async fn problems(&self) -> Vec<(String, FoundProblem)> {
        let mut problems = Vec::new();
        for (name, monitor) in &self.watched {
            let found = monitor.found().await;
            problems.extend(found.map(|problem| (name.clone(), problem)));
        }
        let unwatched = self.unwatched.iter();
        problems.extend(unwatched.filter_map(|it| {
            let problem = assess(&it.state(), it.since).problem?;
            Some((it.name.clone(), problem))
        }));
        problems
    }

    fn is_several(&self) -> bool {
        self.watched.len() + self.unwatched.len() > 1
    }
}

/// Answers 200 if all mail gets through, else 503 with the code of the first problem, and, of several mailboxes, with the
/// problem of each.
async fn ready(State(monitors): State<Monitors>) -> Response {
    let all = monitors.all();
    let problems = all.problems().await;
    let Some((name, problem)) = problems.first() else {
        return Json(json!({ "status": "ready" })).into_response();
    };
    let since = problem.since.as_millis();
    let mut body = json!({ "status": "problem", "code": problem.code, "since": since });
    if all.is_several() {
        body["mailbox"] = json!(name);
        let each = problems.iter().map(|(name, problem)| {
            json!({ "mailbox": name, "code": problem.code, "since": problem.since.as_millis() })
        });
        body["problems"] = each.collect();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

async fn metrics(State(monitors): State<Monitors>) -> Response {
    let all = monitors.all();
    let mut texts = Vec::new();
    for (name, monitor) in &all.watched {
        texts.push((&**name, monitor.encode().await));
    }
    for it in &all.unwatched {
        texts.push((&it.name, it.metrics.encode(&it.state(), it.since)));
    }
    let text = match &mut texts[..] {
        [(_, only)] => std::mem::take(only),
        several => merged(several),
    };
    ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

/// Joins texts of the same metrics: each sample gets the name of its mailbox as a label. The format wants the samples of
/// a metric together.
fn merged(texts: &[(&str, String)]) -> String {
    let mut metrics: Vec<(&str, String)> = Vec::new();
    for (name, text) in texts {
        let mut metric = 0;
        for line in text.lines().filter(|line| *line != END) {
            if line.starts_with('#') {
                let of = line.split(' ').nth(2).unwrap_or_default();
                let known = metrics.iter().position(|(known, _)| *known == of);
                metric = known.unwrap_or(metrics.len());
                if known.is_none() {
                    metrics.push((of, String::new()));
                }
                let described = &mut metrics[metric].1;
                if !described.contains(line) {
                    described.push_str(&format!("{line}\n"));
                }
            } else if let Some((_, samples)) = metrics.get_mut(metric) {
                samples.push_str(&format!("{}\n", labelled(line, name)));
            }
        }
    }
    let metrics: String = metrics.into_iter().map(|(_, text)| text).collect();
    format!("{metrics}{END}\n")
}

/// Adds the label `mailbox` to a sample.
fn labelled(sample: &str, name: &str) -> String {
    let (metric, value) = sample.rsplit_once(' ').unwrap_or((sample, ""));
    match metric.strip_suffix('}') {
        Some(labels) => format!("{labels},mailbox=\"{name}\"}} {value}"),
        None => format!("{metric}{{mailbox=\"{name}\"}} {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_of_several_mailboxes_stand_together_and_have_their_name() {
        let text = |number: u32| {
            format!(
                "# HELP hooks Calls.\n# TYPE hooks counter\nhooks_total{{result=\"accepted\"}} {number}\n\
                 # HELP dead Mails.\n# TYPE dead gauge\ndead {number}\n# EOF\n"
            )
        };
        let merged = merged(&[("1", text(7)), ("2", text(8))]);
        let expected = "# HELP hooks Calls.\n# TYPE hooks counter\n\
            hooks_total{result=\"accepted\",mailbox=\"1\"} 7\n\
            hooks_total{result=\"accepted\",mailbox=\"2\"} 8\n\
            # HELP dead Mails.\n# TYPE dead gauge\n\
            dead{mailbox=\"1\"} 7\ndead{mailbox=\"2\"} 8\n# EOF\n";
        assert_eq!(merged, expected);
    }
}
