//! Events as JSON, one object per line.

use serde::Serialize;
use serde_json::{Value, json};

use crate::error::SetupError;
use crate::report::{Report, StepId, StepState};
use crate::ui::Event;

#[derive(Serialize)]
struct StepJson<'a> {
    step: StepId,
    title: &'static str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<StepId>,
    #[serde(flatten)]
    error: Option<ErrorJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorJson {
    problem: String,
    #[serde(rename = "googleSaid", skip_serializing_if = "Option::is_none")]
    google_message: Option<String>,
    next: String,
}

impl From<&SetupError> for ErrorJson {
    fn from(error: &SetupError) -> Self {
        Self {
            problem: error.problem(),
            google_message: error.google_message.clone(),
            next: error.remedy(),
        }
    }
}

/// An event as a line; `None` for events that only a user needs.
pub(super) fn event(event: Event<'_>) -> Option<String> {
    let value = match event {
        Event::Step { step, state } => with_event("step", &step_json(step, state)),
        Event::Plan(report) => json!({ "event": "plan", "steps": steps(report) }),
        Event::Summary(report) => json!({
            "event": "summary",
            "done": !report.has_failed(),
            "steps": steps(report),
            "then": report.next_commands,
            "configuration": report.configuration,
            "settings": report.settings,
        }),
        Event::Page(page) => json!({ "event": "page", "url": page.as_str() }),
        Event::Waiting {
            step,
            reason,
            remaining,
            left,
        } => json!({
            "event": "waiting",
            "step": step,
            "reason": reason,
            "seconds": remaining.as_secs(),
            "secondsLeft": left.as_secs(),
        }),
        Event::Working { .. } | Event::Note(_) => return None,
    };
    Some(value.to_string())
}

/// The error that ended a run.
pub(super) fn stopped(error: &SetupError) -> String {
    with_event("stopped", &ErrorJson::from(error)).to_string()
}

fn with_event(name: &str, fields: &impl Serialize) -> Value {
    let mut value = json!({ "event": name });
    if let (Some(all), Ok(Value::Object(fields))) =
        (value.as_object_mut(), serde_json::to_value(fields))
    {
        all.extend(fields);
    }
    value
}

fn steps(report: &Report) -> Value {
    let steps = report.steps.iter();
    let steps: Vec<_> = steps.map(|(step, state)| step_json(*step, state)).collect();
    json!(steps)
}

fn step_json(step: StepId, state: &StepState) -> StepJson<'_> {
    let empty = StepJson {
        step,
        title: step.title(),
        state: "done",
        detail: None,
        changed: None,
        warning: None,
        needs: None,
        error: None,
    };
    match state {
        StepState::Done {
            detail,
            changed,
            warning,
        } => StepJson {
            detail: Some(detail),
            changed: Some(*changed),
            warning: warning.as_deref(),
            ..empty
        },
        StepState::Pending(action) => StepJson {
            state: "toDo",
            detail: Some(action),
            ..empty
        },
        StepState::Blocked(need) => StepJson {
            state: "toDo",
            needs: Some(*need),
            ..empty
        },
        StepState::Failed(error) => StepJson {
            state: "failed",
            error: Some(error.into()),
            ..empty
        },
        StepState::Skipped(need) => StepJson {
            state: "skipped",
            needs: Some(*need),
            ..empty
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Blocker;

    #[test]
    fn waiting_names_the_reason_and_both_times() {
        let line = event(Event::Waiting {
            step: StepId::Watch,
            reason: Blocker::PublisherDenied.retry_reason().unwrap(),
            remaining: Duration::from_secs(5),
            left: Duration::from_secs(600),
        });
        assert_eq!(
            serde_json::from_str::<Value>(&line.unwrap()).unwrap(),
            json!({
                "event": "waiting",
                "step": "watch",
                "reason": "Google takes up to 7 minutes to apply a new role",
                "seconds": 5,
                "secondsLeft": 600,
            })
        );
    }
}
