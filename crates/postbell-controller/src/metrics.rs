//! `/_kilo/metrics`: the controller's metrics for Prometheus, followed by those of Postbell's watcher.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::uri::PathAndQuery;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use postbell_core::{BoxError, ProblemCode};
use postbell_http::read_body;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::timeout;

use crate::bearer::VerifiedCaller;
use crate::loopback::Loopback;
use crate::mail_monitor::MailReport;
use crate::mail_settings::FIRST;
use crate::route_state::RouteState;
use crate::state::ControllerState;
use crate::supervisor::{ChildState, ChildStatus};

/// The format of the metrics (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where the watcher has its metrics.
const METRICS: &str = "/metrics";
const LIMIT: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(1);

/// How metrics end.
const END: &str = "# EOF\n";

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfChild {
    child: &'static str,
}

/// The labels of a problem: its code, and the name of the account if there are several.
type Problem = Vec<(&'static str, String)>;

/// Answers with the metrics, none of which names the mailbox.
pub(crate) async fn metrics(
    _: VerifiedCaller,
    State(state): State<RouteState>,
) -> impl IntoResponse {
    let children = [
        ("gateway", Some(state.gateway.status())),
        (
            "watcher",
            state.mailbox.is_watched().then(|| state.watcher.status()),
        ),
    ];
    let is_ready = matches!(state.state.get(), ControllerState::Ready);
    let spans_dropped = state.tracer.dropped_spans();
    let mut text = encoded(&children, is_ready, &state.mail.report(), spans_dropped);
    if let Some(watcher) = state.mail.running_watcher()
        && let Ok(Ok(of_watcher)) = timeout(TIMEOUT, metrics_of(watcher)).await
    {
        text.truncate(text.len() - END.len());
        text.push_str(&of_watcher);
    }
    ([(CONTENT_TYPE, OPEN_METRICS)], text)
}

async fn metrics_of(watcher: &Loopback) -> Result<String, BoxError> {
    let uri = watcher.uri(PathAndQuery::from_static(METRICS));
    let response = watcher.send(Request::get(uri).body(Body::empty())?).await?;
    if response.status() != StatusCode::OK {
        return Err("the watcher has no metrics".into());
    }
    let body = read_body(Body::new(response.into_body()), LIMIT).await?;
    Ok(String::from_utf8(body.to_vec())?)
}

fn encoded(
    children: &[(&'static str, Option<ChildStatus>)],
    is_ready: bool,
    mail: &MailReport,
    spans_dropped: u64,
) -> String {
    let mut registry = Registry::with_prefix("postbell_controller");
    let ready = Gauge::<i64>::default();
    ready.set(is_ready.into());
    registry.register("ready", "1 once both children were started", ready);
    let running = Family::<OfChild, Gauge>::default();
    let restarts = Family::<OfChild, Counter>::default();
    for (child, status) in children {
        let Some(status) = status else { continue };
        let is_running = matches!(status.state, ChildState::Running(_));
        running
            .get_or_create(&OfChild { child })
            .set(is_running.into());
        restarts
            .get_or_create(&OfChild { child })
            .inc_by(status.restarts);
    }
    registry.register("child_running", "1 while the child runs, else 0", running);
    let help = "How often the child exited by itself and was restarted";
    registry.register("child_restarts", help, restarts);
    let problems = Family::<Problem, Gauge>::default();
    let further = mail.further.iter();
    let further = further.map(|it| (&*it.name, it.mail.news.problem));
    for (name, problem) in std::iter::once((FIRST, mail.first.news.problem)).chain(further) {
        for code in ProblemCode::ALL {
            let is_it = problem.is_some_and(|found| found.code == code);
            let mut labels = vec![("code", code.as_str().to_owned())];
            if !mail.further.is_empty() {
                labels.push(("mailbox", name.to_owned()));
            }
            problems.get_or_create(&labels).set(is_it.into());
        }
    }
    let help = "1 for the problem that keeps mail from the bot, else 0";
    registry.register("mail_problem", help, problems);
    let spans = Counter::<u64>::default();
    spans.inc_by(spans_dropped);
    let help = "Spans of the controller that the OTLP collector did not take";
    registry.register("spans_dropped", help, spans);
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

#[cfg(test)]
mod tests {
    use postbell_core::{MachineReport, MailProblem, Timestamp};
    use postbell_testkit::assert_has_named_metrics;

    use super::*;
    use crate::mail_monitor::{FurtherMail, MailboxMail};

    #[test]
    fn a_child_that_keeps_exiting_and_a_problem_are_counted() {
        let status = ChildStatus {
            state: ChildState::Crashed,
            restarts: 3,
            last_exit: None,
        };
        let children = [("gateway", Some(status)), ("watcher", None)];
        let problem = |code| MailboxMail {
            news: MachineReport {
                problem: Some(MailProblem {
                    code,
                    since: Timestamp::default(),
                }),
                ..MachineReport::default()
            },
            detail: String::new(),
        };
        let mut mail = MailReport {
            first: problem(ProblemCode::GrantRevoked),
            further: Vec::new(),
        };
        let text = encoded(&children, true, &mail, 2);
        for line in [
            "postbell_controller_ready 1",
            r#"postbell_controller_child_running{child="gateway"} 0"#,
            r#"postbell_controller_child_restarts_total{child="gateway"} 3"#,
            r#"postbell_controller_mail_problem{code="grant_revoked"} 1"#,
            "postbell_controller_spans_dropped_total 2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert_has_named_metrics(&text, "postbell_controller_");
        assert!(text.ends_with(END) && !text.contains("watcher\""));
        mail.further.push(FurtherMail {
            name: "5f0a".to_owned(),
            account: "bob@example.com".to_owned(),
            mail: problem(ProblemCode::WebhookGone),
        });
        let text = encoded(&children, true, &mail, 2);
        for line in [
            r#"postbell_controller_mail_problem{code="grant_revoked",mailbox="1"} 1"#,
            r#"postbell_controller_mail_problem{code="webhook_gone",mailbox="5f0a"} 1"#,
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(!text.contains("bob"), "{text}");
    }
}
