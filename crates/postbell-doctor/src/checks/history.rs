//! The last push and the last delivery.

use postbell_core::{DeliveryRecord, FailureKind, Outcome, ProblemCode};

use crate::checker::Checker;
use crate::report::{CheckResult, HopId};
use crate::times::{duration, minute};

pub(crate) fn check(checker: &Checker<'_>) -> [(HopId, CheckResult); 2] {
    let (push, delivery) = match &checker.facts.deliveries {
        _ if checker.is_local() => from_watcher(checker),
        Ok(deliveries) => from_relay(checker, deliveries),
        Err(result) => (result.clone(), result.clone()),
    };
    [(HopId::LastPush, push), (HopId::LastDelivery, delivery)]
}

fn from_relay(checker: &Checker<'_>, deliveries: &[DeliveryRecord]) -> (CheckResult, CheckResult) {
    let Some(last) = deliveries.iter().max_by_key(|one| one.settled_at) else {
        let hint = if checker.facts.operator.is_some() {
            "Send the mailbox a mail, or have the user choose *Send a test* on *My bot*."
        } else {
            "Send the mailbox a mail, or make Gmail send a notification: `postbell setup --again`."
        };
        let none = CheckResult::warning("none has arrived yet", hint);
        return (none, CheckResult::unknown("nothing was delivered yet"));
    };
    let arrived = deliveries.iter().map(|one| one.accepted_at).max();
    let arrived = arrived.unwrap_or(last.accepted_at).as_millis();
    let now = checker.now().as_millis();
    let push = format!(
        "{} ago ({})",
        duration(now.saturating_sub(arrived).max(0)),
        minute(arrived)
    );
    (CheckResult::ok(push), outcome(checker, last))
}

fn outcome(checker: &Checker<'_>, last: &DeliveryRecord) -> CheckResult {
    let user = checker.user_name();
    let at = minute(last.settled_at.as_millis());
    let latency = last.settled_at - last.accepted_at;
    let latency = duration(i64::try_from(latency.as_millis()).unwrap_or(i64::MAX));
    let cause = last.cause.as_deref().unwrap_or("no reason was stored");
    match last.outcome {
        Outcome::Delivered => CheckResult::ok(format!("{at}, {latency} after its push")),
        Outcome::Unwanted => CheckResult::warning(
            format!("dropped at {at}: notifications were turned off"),
            format!("Check whether they still are: `postbell users show {user}`."),
        ),
        Outcome::Failed => CheckResult::failed(
            format!("failed at {at}, and will be retried: {cause}"),
            format!(
                "Repair the failed hops above; list all deliveries: `postbell deliveries {user}`."
            ),
        ),
        Outcome::Parked => CheckResult::failed(
            format!("failed at {at}, and waits until the mailbox's problem is over: {cause}"),
            last.failure_kind
                .and_then(FailureKind::problem)
                .unwrap_or(ProblemCode::Unknown)
                .advice(),
        ),
        Outcome::DeadLettered => CheckResult::failed(
            format!("dead-lettered at {at}: {cause}"),
            format!(
                "Repair the failed hops above, then replay it: `postbell dead-letters replay --user \
                 {user}`."
            ),
        ),
    }
}

/// A standalone watcher stores the outcome of its webhook calls.
fn from_watcher(checker: &Checker<'_>) -> (CheckResult, CheckResult) {
    let watch = match &checker.setup.watch {
        Ok(Some(watch)) => watch,
        Ok(None) => return [(); 2].map(|()| CheckResult::requires(HopId::Watch)).into(),
        Err(result) => return (result.clone(), result.clone()),
    };
    let notified = watch.last_notified_at.as_millis();
    let push = if notified > 0 {
        let ago = checker.now().as_millis().saturating_sub(notified).max(0);
        CheckResult::ok(format!("{} ago ({})", duration(ago), minute(notified)))
    } else {
        CheckResult::unknown_with_hint(
            "no notification has reached the watcher yet",
            "Send a test through the whole path: `postbell watch test`.",
        )
    };
    let at = minute(watch.last_delivery_at.as_millis());
    if let Some((count, last)) = &watch.dead_letters {
        let detail = format!("{count} mails were set aside, the last one {last}");
        let address = checker.mailbox();
        let next = format!(
            "List them: `postbell watch dead-letters list --account {address}`; then replay or drop them."
        );
        return (push, CheckResult::warning(detail, next));
    }
    let delivery = match watch.last_delivery.as_str() {
        "" => CheckResult::unknown("nothing was delivered yet"),
        "ok" => CheckResult::ok(at),
        _ => CheckResult::failed(
            format!("the webhook failed at {at}: {}", watch.last_delivery_note),
            "Check that the bot's webhook works; the watcher retries with its next sync.",
        ),
    };
    (push, delivery)
}
