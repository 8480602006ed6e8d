//! The report as a checklist.

use postbell_doctor::{CheckResult, Report, Status};
use postbell_setup::terminal::{Style, Tone};

/// Formats one line per hop, with the hint below it, and a summary.
pub(super) fn format(style: Style, report: &Report) -> String {
    let mut last_hint = None;
    let mut lines = Vec::new();
    for (hop, result) in &report.hops {
        lines.push(style.line(tone(result), hop.title(), &result.detail));
        // Consecutive hops with the same hint print it once.
        if let Some(next) = result
            .hint
            .as_deref()
            .filter(|next| last_hint != Some(*next))
        {
            lines.push(style.below(&format!("Next: {next}")));
        }
        last_hint = result.hint.as_deref().or(last_hint);
    }
    lines.push(summary(report));
    lines.join("\n")
}

fn tone(result: &CheckResult) -> Tone {
    match result.status {
        Status::Ok => Tone::Good,
        Status::Warning => Tone::Warning,
        Status::Failed => Tone::Bad,
        Status::Unknown => Tone::Open,
    }
}

fn summary(report: &Report) -> String {
    let [ok, warnings, failed, unknown] =
        [Status::Ok, Status::Warning, Status::Failed, Status::Unknown]
            .map(|status| report.count(status));
    let mut counts = vec![format!("{ok} checks passed")];
    for (count, mark, words) in [
        (failed, "✗", "failed"),
        (warnings, "!", "with a warning"),
        (unknown, "·", "not checked"),
    ] {
        if count > 0 {
            counts.push(format!("{count} {words} ({mark})"));
        }
    }
    format!("\n{}.", counts.join(", "))
}
