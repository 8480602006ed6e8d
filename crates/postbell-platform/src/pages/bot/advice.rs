//! The summary at the top of *My bot*: the state in a sentence, and the next step.

use std::time::Duration;

use maud::{Markup, html};
use postbell_core::{
    DeadLetter, DeadLetterReason, FailureKind, InstanceStatus, MailProblem, Outcome,
    PendingDelivery, ProblemCode, Timestamp,
};

use super::test_message::is_test;
use super::view::{Mail, View};
use crate::pages::format::{count, date_and_distance, is_not_seen_yet, relative, rounded};

/// Without a push from Gmail for this long, something may be wrong: most mailboxes get mail every
/// day, and a watch that is not renewed expires after a week.
const SILENCE: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// How serious the state is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Severity {
    /// Notifications reach the bot.
    Good,
    /// Notifications are off, as the owner wants.
    Neutral,
    /// Notifications may be late or missing.
    Warn,
    /// Notifications do not reach the bot.
    Bad,
}

impl Severity {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Neutral => "quiet",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// A state and what to do about it.
pub(super) struct Advice {
    pub(super) severity: Severity,
    pub(super) title: String,
    pub(super) text: Markup,
}

impl Advice {
    pub(super) fn new(severity: Severity, title: &str, text: Markup) -> Self {
        Self {
            severity,
            title: title.to_owned(),
            text,
        }
    }
}

/// Returns advice on the configuration, which comes before anything else.
pub(super) fn configuration_advice(view: &View) -> Option<Advice> {
    let record = &view.record;
    if record.google.is_none() {
        return Some(Advice::new(
            Severity::Neutral,
            "No Google account is connected",
            html! {
                "Your bot gets no notifications yet. " a href="#connection" { "Connect the Google account" }
                " whose mail it should watch."
            },
        ));
    }
    if !record.notifications_enabled {
        return Some(Advice::new(
            Severity::Neutral,
            "Notifications are off",
            html! {
                "Your bot is not notified of new mail. When you turn notifications on below, it catches up with the \
                 mail that arrived in the meantime."
            },
        ));
    }
    if !view.has_machine() {
        return Some(Advice::new(
            Severity::Bad,
            "The address of your machine is unknown",
            html! {
                "Notifications wait until your operator configures it."
            },
        ));
    }
    (record.status == InstanceStatus::Destroying).then(|| {
        Advice::new(
            Severity::Bad,
            "Your machine is being removed",
            html! {
                "It no longer accepts notifications. Ask your operator for another machine."
            },
        )
    })
}

/// Returns advice on the problem that the machine has reported.
pub(super) fn problem_advice(view: &View) -> Option<Advice> {
    let MailProblem { code, since } = view.record.problem?;
    let needs_consent = matches!(
        code,
        ProblemCode::GrantRevoked | ProblemCode::WrongAccount | ProblemCode::CredentialsUnreadable
    );
    Some(Advice::new(
        Severity::Bad,
        &capitalized(code.summary()),
        html! {
            "No mail has reached your bot since " (date_and_distance(since, view.now)) ". " (code.advice())
            @if needs_consent { " " a href="#connection" { "Show how" } "." }
            " Notifications wait until then."
        },
    ))
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// Returns advice on failing deliveries and dead letters.
pub(super) fn delivery_advice(view: &View, mail: &Mail) -> Option<Advice> {
    let failed = mail
        .deliveries
        .first()
        .filter(|last| matches!(last.outcome, Outcome::Failed | Outcome::Parked));
    let is_failing = |pending: &&PendingDelivery| pending.consecutive_failures > 0;
    if let Some(pending) = mail.pending.as_ref().filter(is_failing) {
        let attempts = count(
            pending.consecutive_failures.into(),
            "attempt has",
            "attempts have",
        );
        let cause = failed.and_then(|delivery| delivery.cause.as_deref());
        let cause = cause.unwrap_or("the delivery failed");
        let kind = failed.and_then(|delivery| delivery.failure_kind);
        let next = next_attempt(pending.due_at, pending.in_progress, view.now);
        return Some(Advice::new(
            Severity::Bad,
            "Notifications do not reach your bot",
            html! {
                (attempts) " failed: " (cause) ". " (remedy(view, kind)) " The next attempt is " (next)
                ". Notifications are kept until then, and delivered as soon as your machine checks in."
            },
        ));
    }
    let latest = mail.dead_letters.first()?;
    // A later delivery includes the mail of earlier dead letters.
    let is_superseded = view
        .last_delivered()
        .is_some_and(|last| last.settled_at > latest.dead_lettered_at);
    if is_superseded {
        return None;
    }
    let can_be_replayed =
        |dead_letter: &DeadLetter| dead_letter.reason != DeadLetterReason::Malformed;
    Some(Advice::new(
        Severity::Warn,
        &undelivered(mail.dead_letter_count),
        html! {
            @if mail.dead_letter_count == 1 { "It is kept as a " a href="#dead-letters" { "dead letter" } }
            @else { "They are kept as " a href="#dead-letters" { "dead letters" } }
            @if latest.cause.is_empty() { ". " } @else { ": " (latest.cause) ". " }
            @if mail.dead_letters.iter().any(can_be_replayed) { "Fix the cause, then deliver the latest again: it \
                includes the mail before it, and so does the next notification." }
            @else { "An unparseable message cannot be delivered; you can only delete it." }
        },
    ))
}

pub(super) fn undelivered(number: u64) -> String {
    match number {
        1 => "One notification could not be delivered".to_owned(),
        _ => format!("{number} notifications could not be delivered"),
    }
}

fn next_attempt(due: Timestamp, is_running: bool, now: Timestamp) -> Markup {
    if is_running {
        html! { "in progress" }
    } else {
        relative(due.max(now), now)
    }
}

/// Returns what the owner can do about a failure.
fn remedy(view: &View, kind: Option<FailureKind>) -> &'static str {
    match kind {
        Some(FailureKind::NotRunning { starting: true }) => "Your machine is being started.",
        Some(FailureKind::Problem(problem)) => problem.advice(),
        _ if view.is_off() => "Start your machine, or let new mail start it.",
        Some(FailureKind::Status(401)) => {
            "The machine rejects the platform's token: restart it, so that it gets the current one."
        }
        Some(FailureKind::Status(404 | 503)) => {
            "The machine is running, but the watcher on it is not: see the machine's log."
        }
        Some(FailureKind::Unreachable | FailureKind::Timeout) => {
            "Check that your machine is running and reachable from the relay."
        }
        _ => "See the machine's log.",
    }
}

/// Returns advice on a machine that is not running, or does not answer.
pub(super) fn machine_advice(view: &View) -> Option<Advice> {
    if is_not_seen_yet(&view.record) {
        return Some(Advice::new(
            Severity::Warn,
            "Your machine was not seen yet",
            html! {
                "It has neither checked in nor answered. Start it, or ask your operator whether its address and its token \
                 are right. Notifications are kept, and delivered as soon as it checks in."
            },
        ));
    }
    if let Some(since) = view.record.unreachable_since {
        return Some(Advice::new(
            Severity::Bad,
            "Your machine does not answer",
            html! {
                "It has not answered since " (date_and_distance(since, view.now)) ". Check that it is running and that \
                 the platform reaches its address. Notifications are kept, and delivered as soon as it checks in."
            },
        ));
    }
    if view.record.status == InstanceStatus::Starting {
        return Some(Advice::new(
            Severity::Warn,
            "Your machine is starting",
            html! {
                "Pending notifications are delivered when it checks in."
            },
        ));
    }
    if !view.is_off() {
        return None;
    }
    Some(if view.record.wake_on_mail && view.is_managed {
        Advice::new(
            Severity::Good,
            "Your machine sleeps until mail arrives",
            html! {
                "The next mail starts it. The notification is delivered when the machine checks in."
            },
        )
    } else if view.is_managed {
        Advice::new(
            Severity::Warn,
            "Your machine is off",
            html! {
                "Notifications wait for at least an hour. Start the machine, or " a href="#settings" {
                "let new mail start it" } "."
            },
        )
    } else {
        Advice::new(
            Severity::Warn,
            "Your machine is off",
            html! {
                "Notifications wait for at least an hour. Start the machine: it checks in by itself."
            },
        )
    })
}

/// The summary if no problem is known.
pub(super) fn no_problem(view: &View) -> Advice {
    let Some(mail) = &view.mail else {
        return Advice::new(
            Severity::Good,
            "Notifications are on",
            html! {
                "The relay runs on another server, so this page shows no deliveries."
            },
        );
    };
    let silence = view.silent_for().unwrap_or_default();
    if silence >= SILENCE {
        return Advice::new(
            Severity::Warn,
            &format!("No notification from Gmail for {}", rounded(silence)),
            html! {
                "This is normal if no mail arrived. Otherwise "
                @if view.record.watch_expires_at.is_none() { "Gmail's watch may have expired, or " }
                "Google may require your consent again. Send yourself a mail; if it does not appear here, restart \
                 your machine or " a href="#connection" { "connect the account again" } "."
            },
        );
    }
    if let Some(pending) = &mail.pending {
        let title = if is_test(&pending.message_id) {
            "A test is being delivered"
        } else {
            "A notification is being delivered"
        };
        return Advice::new(
            Severity::Good,
            title,
            html! { "It reaches your bot in a moment." },
        );
    }
    last_delivery(view, mail)
}

fn last_delivery(view: &View, mail: &Mail) -> Advice {
    if let Some(test) = view.last_test() {
        return Advice::new(
            Severity::Good,
            "The test reached your bot",
            html! {
                "It arrived " (relative(test.settled_at, view.now)) ". "
                @match view.last_delivered() {
                    Some(last) => { "The last notification of mail arrived " (relative(last.settled_at, view.now)) "." }
                    None => "Only real mail shows whether Gmail sends notifications: send yourself one.",
                }
            },
        );
    }
    match view.last_delivered() {
        Some(last) => Advice::new(
            Severity::Good,
            "Notifications reach your bot",
            html! {
                "The last one arrived " (relative(last.settled_at, view.now)) "."
                @if mail.dead_letter_count > 0 {
                    " " (undelivered(mail.dead_letter_count)) " before: see the " a href="#dead-letters" { "dead letters" } "."
                }
            },
        ),
        None => Advice::new(
            Severity::Good,
            "Ready for the first mail",
            html! {
                "Gmail has sent no notification yet. Send yourself a mail, or " a href="#deliveries" { "send a test" }
                "."
            },
        ),
    }
}
