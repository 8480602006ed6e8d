//! What came last, and what became of it.

use postbell_core::{DeliveryRecord, Outcome};

use super::{Exam, Finding, HopId};
use crate::times::{in_words, minute};

pub(super) fn look(exam: &Exam<'_>) -> [(HopId, Finding); 2] {
    let (push, delivery) = match &exam.facts.deliveries {
        _ if exam.is_local() => of_watcher(exam),
        Ok(deliveries) => of_relay(exam, deliveries),
        Err(finding) => (finding.clone(), finding.clone()),
    };
    [(HopId::LastPush, push), (HopId::LastDelivery, delivery)]
}

fn of_relay(exam: &Exam<'_>, deliveries: &[DeliveryRecord]) -> (Finding, Finding) {
    let Some(last) = deliveries.iter().max_by_key(|one| one.settled_at) else {
        let next = "Send the mailbox a mail, or have Gmail tell: `postbell setup --again`.";
        let none = Finding::warning("none has come yet", next);
        return (none, Finding::unknown("nothing was delivered yet"));
    };
    let came = deliveries.iter().map(|one| one.accepted_at).max();
    let came = came.unwrap_or(last.accepted_at).as_millis();
    let now = exam.site.tools.clock.now().as_millis();
    let push = format!(
        "{} ago ({})",
        in_words(now.saturating_sub(came).max(0)),
        minute(came)
    );
    (Finding::ok(push), outcome(exam, last))
}

fn outcome(exam: &Exam<'_>, last: &DeliveryRecord) -> Finding {
    let user = exam.facts.user.as_ref();
    let user = user.map_or_else(|| "USER".to_owned(), ToString::to_string);
    let at = minute(last.settled_at.as_millis());
    let waited = last.settled_at - last.accepted_at;
    let waited = in_words(i64::try_from(waited.as_millis()).unwrap_or(i64::MAX));
    let cause = last.cause.as_deref().unwrap_or("nobody knows why");
    match last.outcome {
        Outcome::Delivered => Finding::ok(format!("{at}, {waited} after its push")),
        Outcome::Unwanted => Finding::warning(
            format!("dropped at {at}: nobody wanted mail then"),
            format!("See whether that is still so: `postbell users show {user}`."),
        ),
        Outcome::Failed => Finding::failed(
            format!("failed at {at}, and is repeated: {cause}"),
            format!("Mend what fails above; see all of them: `postbell deliveries {user}`."),
        ),
        Outcome::DeadLettered => Finding::failed(
            format!("given up at {at}: {cause}"),
            format!(
                "Mend what fails above, then deliver it: `postbell dead-letters replay --user {user}`."
            ),
        ),
    }
}

/// A watcher on its own notes what became of its hooks.
fn of_watcher(exam: &Exam<'_>) -> (Finding, Finding) {
    let push = Finding::elsewhere("a watcher on its own does not note when it was told");
    let address = exam.site.wishes.mailbox.as_ref();
    let address = address.map_or("", |address| address.as_str());
    let remembered = match exam.site.tools.memory.recall(address) {
        Ok(Some(remembered)) => remembered,
        Ok(None) => return (push, Finding::needs(HopId::Watch)),
        Err(trouble) => return (push, trouble.into()),
    };
    let at = minute(remembered.last_delivery_at.as_millis());
    let delivery = match remembered.last_delivery.as_str() {
        "" => Finding::unknown("nothing was delivered yet"),
        "ok" => Finding::ok(at),
        _ => Finding::failed(
            format!("the bot did not take it at {at}"),
            "See that the bot's hook takes mail; the watcher tries again with the next look.",
        ),
    };
    (push, delivery)
}
