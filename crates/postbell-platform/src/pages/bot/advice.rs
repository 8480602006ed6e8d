//! How things stand, in plain words, and what to do next.

use std::time::Duration;

use maud::{Markup, html};
use postbell_core::inbox::trouble::Trouble;
use postbell_core::{
    DeadLetter, DeadLetterReason, InstanceStatus, Outcome, PendingDelivery, Timestamp,
};

use super::test_message::is_test;
use super::view::{Mail, View};
use super::watch::of_watch;
use crate::pages::format::{ago, count, rough};

/// After so long without a word from Gmail, something may be wrong: most mailboxes get mail daily,
/// and a watch that nobody renews ends after a week.
const SILENCE: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// How things stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tone {
    /// Mail gets through.
    Good,
    /// It does not, as its owner wants it.
    Quiet,
    /// It may not, or not at once.
    Warn,
    /// It does not.
    Bad,
}

/// What is said first.
pub(super) struct Advice {
    pub(super) tone: Tone,
    pub(super) title: String,
    pub(super) text: Markup,
}

impl Tone {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Quiet => "quiet",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

pub(super) fn say(tone: Tone, title: &str, text: Markup) -> Advice {
    Advice {
        tone,
        title: title.to_owned(),
        text,
    }
}

/// What matters most comes first.
pub(super) fn advice(view: &View) -> Advice {
    let record = &view.record;
    if record.google.is_none() {
        return say(
            Tone::Quiet,
            "No Google account is connected",
            html! {
                "Your bot hears of no mail yet. Connect the account whose mail it is to get: "
                a href="#connection" { "how that is done" } "."
            },
        );
    }
    if !record.notifications_enabled {
        return say(
            Tone::Quiet,
            "Notifications are off",
            html! {
                "Mail that comes now is not announced to your bot. Switch them on below; it then catches up \
                 with what came meanwhile."
            },
        );
    }
    if !view.has_machine() {
        return say(
            Tone::Bad,
            "Postbell does not know where your bot is",
            html! {
                "Mail waits until it does. Ask your operator to say where your machine is."
            },
        );
    }
    if record.status == InstanceStatus::Destroying {
        return say(
            Tone::Bad,
            "Your machine is being removed",
            html! {
                "It takes no mail any more. Ask your operator for another one."
            },
        );
    }
    let of_mail = view.mail.as_ref().and_then(|mail| of_mail(view, mail));
    of_mail
        .or_else(|| of_watch(view))
        .or_else(|| of_machine(view))
        .unwrap_or_else(|| at_rest(view))
}

/// What is wrong with deliveries.
fn of_mail(view: &View, mail: &Mail) -> Option<Advice> {
    let failed = mail
        .deliveries
        .first()
        .filter(|last| last.outcome == Outcome::Failed);
    let is_failing = |waiting: &&PendingDelivery| waiting.failures > 0;
    if let Some(waiting) = mail.waiting.as_ref().filter(is_failing) {
        let times = count(waiting.failures.into(), "attempt has", "attempts have");
        let cause = failed.and_then(|delivery| delivery.cause.as_deref());
        let cause = cause.unwrap_or("the delivery failed");
        let when = next_attempt(waiting.due_at, waiting.under_way, view.now);
        return Some(say(
            Tone::Bad,
            "Mail does not reach your bot",
            html! {
                (times) " failed: " (cause) ". " (remedy(view, cause)) " The next attempt is " (when)
                "; mail is kept until then, and delivered at once when your machine reports in."
            },
        ));
    }
    let last_given_up = mail.letters.first()?;
    // Mail that has come since brings along what was given up before.
    let is_past = view
        .last_delivered()
        .is_some_and(|last| last.settled_at > last_given_up.buried_at);
    if is_past {
        return None;
    }
    let can_be_repeated = |letter: &DeadLetter| letter.reason != DeadLetterReason::Malformed;
    Some(say(
        Tone::Warn,
        &given_up(mail.given_up),
        html! {
            @if mail.given_up == 1 { "It is" } @else { "They are" }
            " kept " a href="#letters" { "below" } " with the reason. "
            @if mail.letters.iter().any(can_be_repeated) { "Once that is mended, deliver it again: the latest \
                brings along what came before it, and so does the next mail." }
            @else { "What cannot be read can only be forgotten." }
        },
    ))
}

fn given_up(number: u64) -> String {
    match number {
        1 => "One notification was given up".to_owned(),
        _ => format!("{number} notifications were given up"),
    }
}

fn next_attempt(due: Timestamp, under_way: bool, now: Timestamp) -> Markup {
    if under_way {
        html! { "under way" }
    } else {
        ago(due.max(now), now)
    }
}

/// What helps against a cause.
fn remedy(view: &View, cause: &str) -> &'static str {
    match Trouble::of(cause) {
        Trouble::BeingStarted => "Your machine is being started.",
        _ if view.is_off() => "Start your machine, or let mail start it.",
        Trouble::Token => {
            "The machine does not accept our token: restart it, so that it gets the present one."
        }
        Trouble::NoWatcher => {
            "The machine is up, but the part of it that reads mail is not: look at the machine's log."
        }
        Trouble::NoAnswer => "See whether your machine is up, and can be reached from here.",
        Trouble::Other => "Look at the machine's log.",
    }
}

/// What is wrong with the machine, while nothing waits for it.
fn of_machine(view: &View) -> Option<Advice> {
    if view.record.status == InstanceStatus::Starting {
        return Some(say(
            Tone::Warn,
            "Your machine is starting",
            html! {
                "What comes meanwhile is delivered when it reports in."
            },
        ));
    }
    if !view.is_off() {
        return None;
    }
    Some(if view.record.wake_on_mail && view.is_managed {
        say(
            Tone::Good,
            "Your machine sleeps until mail comes",
            html! {
                "The next mail starts it. It is delivered when the machine reports in."
            },
        )
    } else if view.is_managed {
        say(
            Tone::Warn,
            "Your machine is off",
            html! {
                "Mail waits for it, for an hour at least. Start it, or " a href="#settings" { "let mail start it" } "."
            },
        )
    } else {
        say(
            Tone::Warn,
            "Your machine is off",
            html! {
                "Mail waits for it, for an hour at least. Start it: it reports in by itself."
            },
        )
    })
}

/// Nothing is known to be wrong.
fn at_rest(view: &View) -> Advice {
    let Some(mail) = &view.mail else {
        return say(
            Tone::Good,
            "Notifications are on",
            html! {
                "Mail is delivered by another server here, so this page cannot tell what has arrived."
            },
        );
    };
    let silence = view.silent_for().unwrap_or_default();
    if silence >= SILENCE {
        return say(
            Tone::Warn,
            &format!("Nothing from Gmail for {}", rough(silence)),
            html! {
                "That is well where no mail came. Otherwise "
                @if view.record.watch_expires_at.is_none() { "Gmail may have stopped announcing it, or " }
                "Google may ask for your consent again: send yourself a mail, and if it does not show here, restart \
                 your machine or " a href="#connection" { "connect the account again" } "."
            },
        );
    }
    if let Some(waiting) = &mail.waiting {
        let title = if is_test(&waiting.message_id) {
            "A test is on its way"
        } else {
            "Mail is on its way"
        };
        return say(
            Tone::Good,
            title,
            html! { "It is being delivered to your bot." },
        );
    }
    of_the_last_delivery(view, mail)
}

fn of_the_last_delivery(view: &View, mail: &Mail) -> Advice {
    if let Some(test) = view.last_test() {
        return say(
            Tone::Good,
            "The test reached your bot",
            html! {
                "It did " (ago(test.settled_at, view.now)) ". "
                @match view.last_delivered() {
                    Some(last) => { "The last mail was announced to it " (ago(last.settled_at, view.now)) "." }
                    None => "Whether Gmail announces mail, only a real one shows: send yourself one.",
                }
            },
        );
    }
    match view.last_delivered() {
        Some(last) => say(
            Tone::Good,
            "Mail gets through",
            html! {
                "The last notification reached your bot " (ago(last.settled_at, view.now)) "."
                @if mail.given_up > 0 { " " (given_up(mail.given_up)) " before: " a href="#letters" { "see which" } "." }
            },
        ),
        None => say(
            Tone::Good,
            "Ready for the first mail",
            html! {
                "Nothing has come from Gmail yet. Send yourself a mail, or " a href="#deliveries" { "send a test" }
                "."
            },
        ),
    }
}
