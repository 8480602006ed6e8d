//! Reports and errors as text.

use super::style::{Style, Tone};
use crate::error::SetupError;
use crate::report::{Report, StepId, StepState};

/// The state of a step; `None` while it is pending.
pub(super) fn step(style: Style, step: StepId, state: &StepState) -> Option<String> {
    Some(match state {
        StepState::Done {
            detail, warning, ..
        } => {
            let line = style.line(Tone::Good, step.title(), detail);
            match warning {
                None => line,
                Some(warning) => format!("{line}\n{}", style.line(Tone::Warning, "", warning)),
            }
        }
        StepState::Pending(_) | StepState::Blocked(_) => return None,
        StepState::Failed(error) => failure(style, step.title(), error),
        // The failed step has the ✗; this one only depends on it.
        StepState::Skipped(need) => {
            style.line(Tone::Open, step.title(), &format!("skipped, needs: {need}"))
        }
    })
}

/// The error of a step, Google's message, and the next action.
fn failure(style: Style, name: &str, error: &SetupError) -> String {
    let mut lines = vec![style.line(Tone::Bad, name, &error.problem())];
    if let Some(message) = &error.google_message {
        lines.push(style.below(&format!("Google: {message}")));
    }
    lines.push(style.below(&format!("Next: {}", error.remedy())));
    lines.join("\n")
}

/// The error that ended a run.
pub(super) fn fatal(style: Style, error: &SetupError) -> String {
    let message = error.google_message.as_ref();
    let message = message.map(|message| format!(" Google: {message}"));
    let text = format!(
        "\n{}.{} {}",
        capitalized(&error.problem()),
        message.unwrap_or_default(),
        error.remedy()
    );
    style.paragraphs(&text)
}

/// The pending steps; `None` if there are none.
pub(super) fn plan(style: Style, report: &Report) -> Option<String> {
    let pending = report.steps.iter().filter_map(|(step, state)| {
        let action = match state {
            StepState::Pending(action) => action.clone(),
            StepState::Blocked(need) => format!("after: {need}"),
            _ => return None,
        };
        Some(style.line(Tone::Open, step.title(), &action))
    });
    let pending: Vec<_> = pending.collect();
    (!pending.is_empty()).then(|| format!("Changes:\n{}", pending.join("\n")))
}

/// A plan without pending steps.
pub(super) fn empty_plan(report: &Report) -> &'static str {
    if report.has_failed() {
        "The plan is incomplete. Resolve the steps marked ✗ first."
    } else {
        "No changes."
    }
}

/// The result of a run.
pub(super) fn summary(style: Style, report: &Report) -> String {
    if report.has_failed() {
        let done = report.steps.iter().filter(|(_, state)| state.is_done());
        return style.paragraphs(&format!(
            "{} of {} steps are done. Resolve the steps marked ✗, and run setup again.",
            done.count(),
            report.steps.len()
        ));
    }
    let mut text = "Setup is complete.".to_owned();
    for (key, value) in &report.settings {
        text.push_str(&format!("\n\nSet {key} in the configuration to {value}."));
    }
    if !report.next_commands.is_empty() {
        text.push_str(" Start the watcher with:\n");
        for line in &report.next_commands {
            text.push_str("\n  ");
            text.push_str(&line.replace('\n', "\n  "));
        }
    }
    if !report.configuration.is_empty() {
        let add = "\n\nAdd this to the end of the configuration (postbell.toml), and restart the platform:";
        text.push_str(&style.paragraphs(add));
        text.push('\n');
        for line in &report.configuration {
            text.push_str("\n  ");
            text.push_str(line);
        }
    }
    text
}

/// The result of an undo.
pub(super) fn undo_summary(style: Style, report: &Report) -> String {
    let is_kept =
        |state: &StepState| matches!(state, StepState::Done { warning, .. } if warning.is_some());
    style.paragraphs(if report.has_failed() {
        "Undo is incomplete. Resolve the steps marked ✗, and run it again."
    } else if report.steps.iter().any(|(_, state)| is_kept(state)) {
        "Undo is complete, except for the resources marked !."
    } else {
        "Undo is complete."
    })
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Blocker;

    #[test]
    fn lines_fit_80_columns_except_for_addresses() {
        let error = SetupError::new(Blocker::OrgPolicy).in_project(Some("p"));
        let text = failure(Style::new(false, None), "Publisher role", &error);
        for line in text.lines().filter(|line| !line.contains("https://")) {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(
            text.starts_with(" ✗ Publisher role    an organization"),
            "{text}"
        );
        assert!(
            text.contains("\n                     Next: Ask an organization"),
            "{text}"
        );
    }

    #[test]
    fn lines_fit_a_narrow_terminal() {
        let style = Style::new(false, Some(60));
        let error = SetupError::new(Blocker::PermissionDenied);
        let report = Report {
            steps: vec![
                (StepId::Topic, StepState::Failed(error.clone())),
                (StepId::Publisher, StepState::Skipped(StepId::Topic)),
            ],
            ..Report::default()
        };
        let texts = [
            failure(style, "Topic", &error),
            summary(style, &report),
            undo_summary(style, &report),
        ];
        for line in texts.iter().flat_map(|text| text.lines()) {
            let is_address = line.contains("https://");
            assert!(is_address || line.chars().count() <= 60, "{line}");
        }
    }

    #[test]
    fn a_skipped_step_is_not_marked_as_failed() {
        let style = Style::new(false, None);
        let line = step(style, StepId::Watch, &StepState::Skipped(StepId::Topic));
        let expected = " · Gmail watch       skipped, needs: Topic";
        assert_eq!(line.as_deref(), Some(expected));
    }
}
