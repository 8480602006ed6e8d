//! The report as a checklist.

use postbell_doctor::{CheckResult, Report, Status};
use postbell_setup::terminal::{Style, Tone};

/// Formats one line per hop, with the hint below it, and a summary. Unless `all`, without those that were not
/// checked and about which nothing can be done, or nothing else than about an earlier one.
pub(super) fn format(style: Style, report: &Report, all: bool) -> String {
    let mut last_hint = None;
    let mut lines = Vec::new();
    let is_repeated = |index: usize, result: &CheckResult| {
        let mut earlier = report.hops.iter().take(index);
        earlier.any(|(_, earlier)| earlier == result)
    };
    let is_shown = |index: usize, result: &CheckResult| {
        let is_news = result.hint.is_some() && !is_repeated(index, result);
        all || result.status != Status::Unknown || is_news
    };
    let hops = report.hops.iter().enumerate();
    let shown = hops.filter(|(index, (_, result))| is_shown(*index, result));
    let shown: Vec<_> = shown.map(|(_, hop)| hop).collect();
    let hidden = report.hops.len() - shown.len();
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

#[cfg(test)]
mod tests {
    use postbell_doctor::HopId;

    use super::*;

    #[test]
    fn what_was_not_checked_is_shown_once_and_only_if_something_can_be_done_about_it() {
        let sign_in = CheckResult::unknown_with_hint("not known", "Sign in.");
        let report = Report {
            hops: vec![
                (HopId::Keys, CheckResult::ok("readable")),
                (
                    HopId::Address,
                    CheckResult::unknown("notifications are pulled"),
                ),
                (HopId::Topic, sign_in.clone()),
                (HopId::Publisher, sign_in),
            ],
        };
        let style = Style::new(false, None);
        let shown = format(style, &report, false);
        for (title, is_shown) in [
            ("Keys", true),
            ("Public address", false),
            ("Topic", true),
            ("Publisher role", false),
            ("2 of them are not shown: `postbell doctor --all`", true),
        ] {
            assert_eq!(shown.contains(title), is_shown, "{title}: {shown}");
        }
        let all = format(style, &report, true);
        assert!(
            all.contains("Public address") && all.contains("Publisher role"),
            "{all}"
        );
    }
}
