//! What a program sees of setup: one JSON object a line.

use postbell_setup::{Event, Report, State, StepId, Trouble};
use serde::Serialize;
use serde_json::{Value, json};

/// A step, and what has become of it.
#[derive(Serialize)]
struct Shown<'a> {
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
    trouble: Option<ShownTrouble>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownTrouble {
    problem: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    google_said: Option<String>,
    next: String,
}

impl From<&Trouble> for ShownTrouble {
    fn from(trouble: &Trouble) -> Self {
        Self {
            problem: trouble.what(),
            google_said: trouble.said.clone(),
            next: trouble.next(),
        }
    }
}

/// An event as a line; nothing, where it is for people alone.
pub(super) fn event(event: Event<'_>) -> Option<String> {
    let value = match event {
        Event::Step { step, state } => with_event("step", &shown(step, state)),
        Event::Plan(report) => json!({ "event": "plan", "steps": steps(report) }),
        Event::Summary(report) => json!({
            "event": "summary",
            "done": !report.has_failed(),
            "steps": steps(report),
            "then": report.then,
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

/// What has kept setup from going on.
pub(super) fn stopped(trouble: &Trouble) -> String {
    with_event("stopped", &ShownTrouble::from(trouble)).to_string()
}

fn with_event(name: &str, shown: &impl Serialize) -> Value {
    let mut value = json!({ "event": name });
    if let (Some(all), Ok(Value::Object(more))) =
        (value.as_object_mut(), serde_json::to_value(shown))
    {
        all.extend(more);
    }
    value
}

fn steps(report: &Report) -> Value {
    let steps = report.steps.iter();
    let steps: Vec<_> = steps.map(|(step, state)| shown(*step, state)).collect();
    json!(steps)
}

fn shown(step: StepId, state: &State) -> Shown<'_> {
    let plain = Shown {
        step,
        title: step.title(),
        state: "done",
        detail: None,
        changed: None,
        warning: None,
        needs: None,
        trouble: None,
    };
    match state {
        State::Done {
            detail,
            changed,
            warning,
        } => Shown {
            detail: Some(detail),
            changed: Some(*changed),
            warning: warning.as_deref(),
            ..plain
        },
        State::ToDo(what) => Shown {
            state: "toDo",
            detail: Some(what),
            ..plain
        },
        State::After(need) => Shown {
            state: "toDo",
            needs: Some(*need),
            ..plain
        },
        State::Failed(trouble) => Shown {
            state: "failed",
            trouble: Some(trouble.into()),
            ..plain
        },
        State::Skipped(need) => Shown {
            state: "skipped",
            needs: Some(*need),
            ..plain
        },
    }
}
