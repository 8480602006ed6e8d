//! Readiness and metrics.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use postbell_core::{ProblemCode, StoreError};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::{ApiError, Platform};

/// The format of the metrics (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Problem {
    code: &'static str,
}

/// Responds with 503 if the store is unavailable or takes no writes.
pub(super) async fn ready(State(platform): State<Platform>) -> Result<Json<Value>, ApiError> {
    let users = platform.users();
    let ready = users.store.check_ready(users.clock.now()).await;
    ready.map_err(
        |error| match ApiError::from_change("the readiness check", error) {
            ApiError::Unavailable { .. } => ApiError::NotReady,
            other => other,
        },
    )?;
    Ok(Json(json!({ "status": "ready" })))
}

/// Responds with the number of users, and of mailboxes with each problem. Names no user.
pub(super) async fn metrics(State(platform): State<Platform>) -> Result<Response, ApiError> {
    const OPERATION: &str = "metrics";
    let store = &platform.users().store;
    let users = store.count().await;
    let users = users.map_err(|error| ApiError::from_change(OPERATION, error))?;
    let problems = store.count_problems().await;
    let problems = problems.map_err(|error| ApiError::from_change(OPERATION, error))?;
    let text = encoded(users, &problems);
    let text = text
        .map_err(|error| ApiError::from_change(OPERATION, StoreError::Unavailable(error.into())))?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

fn encoded(users: u64, problems: &[(ProblemCode, u64)]) -> Result<String, std::fmt::Error> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let mut registry = Registry::with_prefix("postbell");
    let gauge = Gauge::<i64>::default();
    gauge.set(number(users));
    registry.register("users", "Users of the platform", gauge);
    let family = Family::<Problem, Gauge>::default();
    // Codes without mailboxes are shown as 0, so that an alert about one ends.
    for code in ProblemCode::ALL {
        let counts = problems.iter().filter(|(with, _)| *with == code);
        let code = code.as_str();
        let gauge = family.get_or_create(&Problem { code });
        gauge.set(number(counts.map(|(_, count)| count).sum()));
    }
    let help =
        "Mailboxes whose machine has reported a problem that keeps mail from the bot, by its code";
    registry.register("mailbox_problems", help, family);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
