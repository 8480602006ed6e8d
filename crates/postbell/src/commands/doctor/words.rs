//! What doctor found, for people and for programs.

use postbell_setup::{Diagnosis, Finding, Health, HopId};
use serde::Serialize;
use serde_json::json;

use super::super::setup::{Style, Tone};

/// A hop, and what was found there.
#[derive(Serialize)]
struct Shown<'a> {
    hop: HopId,
    title: &'static str,
    state: Health,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
}

/// One object.
pub(super) fn json(diagnosis: &Diagnosis) -> String {
    let hops = diagnosis.hops.iter().map(|(hop, finding)| Shown {
        hop: *hop,
        title: hop.title(),
        state: finding.health,
        detail: &finding.detail,
        next: finding.next.as_deref(),
    });
    let hops: Vec<_> = hops.collect();
    json!({
        "ok": !diagnosis.has_failed(),
        "failed": diagnosis.count(Health::Failed),
        "warnings": diagnosis.count(Health::Warning),
        "unknown": diagnosis.count(Health::Unknown),
        "hops": hops,
    })
    .to_string()
}

/// A line for each hop, with what to do below it, and what that comes to.
pub(super) fn checklist(style: Style, diagnosis: &Diagnosis) -> String {
    let mut said = None;
    let mut lines = Vec::new();
    for (hop, finding) in &diagnosis.hops {
        lines.push(style.line(tone(finding), hop.title(), &finding.detail));
        // What is to be done about several hops in a row is said once.
        if let Some(next) = finding.next.as_deref().filter(|next| said != Some(*next)) {
            lines.push(style.below(&format!("Next: {next}")));
        }
        said = finding.next.as_deref().or(said);
    }
    lines.push(summary(diagnosis));
    lines.join("\n")
}

fn tone(finding: &Finding) -> Tone {
    match finding.health {
        Health::Ok => Tone::Good,
        Health::Warning => Tone::Warning,
        Health::Failed => Tone::Bad,
        Health::Unknown => Tone::Open,
    }
}

fn summary(diagnosis: &Diagnosis) -> String {
    let [ok, warnings, failed, unknown] =
        [Health::Ok, Health::Warning, Health::Failed, Health::Unknown]
            .map(|health| diagnosis.count(health));
    let mut counts = vec![format!("{ok} hops are well")];
    for (count, mark, words) in [
        (failed, "✗", "failed"),
        (warnings, "!", "to be watched"),
        (unknown, "·", "not looked at"),
    ] {
        if count > 0 {
            counts.push(format!("{count} {words} ({mark})"));
        }
    }
    format!("\n{}.", counts.join(", "))
}
