//! `/health`, `/_kilo/health` and `/_kilo/version`.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use postbell_protocol::routes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::bearer::VerifiedCaller;
use crate::child_stats::stats;
use crate::mail_monitor::MailMonitor;
use crate::metrics::metrics;
use crate::route_state::RouteState;
use crate::state::{ControllerState, StateCell};

/// The routes without authentication. `mail` is `None` if the controller could not start.
pub(crate) fn public(state: StateCell, mail: Option<MailMonitor>) -> Router {
    Router::new()
        .route("/health", get(postbell_http::health))
        .route(routes::CONTROLLER_HEALTH, get(health_with_state))
        .with_state(HealthState { state, mail })
}

/// The routes that need the gateway token.
pub(crate) fn authenticated() -> Router<RouteState> {
    Router::new()
        .route(routes::CONTROLLER_VERSION, get(version))
        .route(routes::CONTROLLER_METRICS, get(metrics))
}

#[derive(Clone)]
struct HealthState {
    state: StateCell,
    mail: Option<MailMonitor>,
}

/// Answers 200 in every state: restarting the machine would not fix a configuration error.
/// The public answer names no cause, only whether mail has a problem.
async fn health_with_state(State(HealthState { state, mail }): State<HealthState>) -> Json<Health> {
    let state = state.get();
    let has_problem = mail.is_none_or(|mail| mail.report().problem().is_some())
        || matches!(state, ControllerState::Degraded { .. });
    Json(Health {
        status: "ok",
        state,
        mail: if has_problem { "problem" } else { "ok" },
    })
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(flatten)]
    state: ControllerState,
    mail: &'static str,
}

async fn version(_: VerifiedCaller, State(state): State<RouteState>) -> Json<Value> {
    let clock = &*state.clock;
    let watcher = state.mailbox.is_watched().then(|| {
        let mut stats = stats(&state.watcher.status(), clock);
        let report = state.mail.report();
        stats["problem"] = report.first.problem_json();
        if !report.further.is_empty() {
            let further = report.further.iter().map(|it| {
                json!({
                    "email": it.account,
                    "mailbox": it.name,
                    "watchExpiresAt": it.mail.news.watch_expires_at,
                    "problem": it.mail.problem_json(),
                    "deadLetters": it.mail.news.dead_letters,
                })
            });
            stats["accounts"] = further.collect();
        }
        stats
    });
    Json(json!({
        "version": state.version.version,
        "commit": state.version.commit,
        "gateway": stats(&state.gateway.status(), clock),
        "watcher": watcher,
        "controllerState": state.state.get(),
    }))
}
