//! The report as a checklist.

use postbell_doctor::{CheckResult, Report, Status};
use postbell_setup::terminal::{Style, Tone};

/// Formats one line per hop, with the hint below it, and a summary. Unless `all`, without those that were not
/// checked and about which nothing can be done.
pub(super) fn format(style: Style, report: &Report, all: bool) -> String {
    let mut last_hint = None;
    let mut lines = Vec::new();
    let is_shown =
        |result: &CheckResult| all || result.status != Status::Unknown || result.hint.is_some();
    let shown = report.hops.iter().filter(|(_, result)| is_shown(result));
    let hidden = report.hops.len() - shown.clone().count();
    for (hop, result) in shown {
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
    if hidden > 0 {
        lines.push(format!(
            "{hidden} of them are not shown: `postbell doctor --all`"
        ));
    }
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
