//! Dead letters, as *My bot* and *Operator* show them.

use std::sync::Arc;

use maud::{Markup, html};
use postbell_core::{Actor, DeadLetter, DeadLetterReason, Replayed, Timestamp, UserId};

use super::bot::test_message::subject;
use super::format::{distance, relative};
use super::layout::form_token;
use super::session::Session;
use super::toast::Toast;
use super::{PageError, Pages};

/// An action on a dead letter.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// Queues it for delivery again.
    Replay,
    /// Deletes it.
    Drop,
}

impl Action {
    /// Applies the action to a dead letter, if it belongs to one of these users. `None` allows all users.
    pub(super) async fn apply(
        self,
        pages: &Pages,
        users: Option<&[UserId]>,
        number: i64,
        by: &Actor,
    ) -> Result<Toast, PageError> {
        let Some(relay) = &pages.parts().relay else {
            return Ok(Toast::NoRelay);
        };
        let before = Some(number.saturating_add(1));
        let found = relay.log.dead_letters(None, before, 1).await?;
        let is_theirs = |found: &DeadLetter| {
            found.id == number && users.is_none_or(|users| users.contains(&found.user))
        };
        if !found.iter().any(is_theirs) {
            return Ok(Toast::Missing);
        }
        let audited = pages.parts().operator.queue.as_ref();
        let audited = audited.map(|queue| queue.ports.delivery_log(by));
        let log = audited.unwrap_or_else(|| Arc::clone(&relay.log));
        let toast = match self {
            Self::Replay => match log.replay(number, pages.now()).await? {
                Replayed::Queued => Toast::Replayed,
                Replayed::Unparseable => Toast::Unparseable,
                Replayed::Missing => Toast::Missing,
            },
            Self::Drop if log.drop_dead_letter(number).await? => Toast::Dropped,
            Self::Drop => Toast::Missing,
        };
        relay.arrivals.notify_one();
        Ok(toast)
    }
}

/// A list of dead letters, with the forms of the page at `page` if the session may change them. `of` says whose each one
/// is, if the page is about several.
pub(super) fn list(
    page: Option<&str>,
    dead_letters: &[DeadLetter],
    of: impl Fn(&DeadLetter) -> Markup,
    session: &Session,
    now: Timestamp,
) -> Markup {
    html! {
        ol class="rows" {
            @for dead_letter in dead_letters {
                li class="row" {
                    span class="badge bad" { (reason(dead_letter)) }
                    span class="row-main" {
                        (of(dead_letter)) (title(dead_letter))
                        span class="cause" { (dead_letter.cause) }
                    }
                    span class="row-side" {
                        (relative(dead_letter.dead_lettered_at, now))
                        @if let Some(page) = page { (buttons(page, dead_letter, session, now)) }
                    }
                }
            }
        }
    }
}

/// What a dead letter is about.
fn title(dead_letter: &DeadLetter) -> &'static str {
    match dead_letter.history_id {
        Some(_) => subject(&dead_letter.message_id),
        None => "Unparseable message",
    }
}

/// The reason of a dead letter in a word or two.
fn reason(dead_letter: &DeadLetter) -> &'static str {
    match dead_letter.reason {
        DeadLetterReason::Malformed => "Unparseable",
        DeadLetterReason::Refused => "Refused",
        DeadLetterReason::Exhausted => "No answer",
    }
}

/// The forms that replay or delete a dead letter, on the page at `page`.
fn buttons(page: &str, dead_letter: &DeadLetter, session: &Session, now: Timestamp) -> Markup {
    let number = dead_letter.id;
    let age = distance(dead_letter.dead_lettered_at, now);
    let label = format!("{}, dead letter since {age}", title(dead_letter));
    html! {
        span class="buttons" {
            @if dead_letter.reason != DeadLetterReason::Malformed {
                form method="post" action=(format!("{page}/dead-letters/{number}/replay")) {
                    (form_token(session))
                    button aria-label={ "Deliver again: " (label) } { "Deliver again" }
                }
            }
            details id={ "delete-" (number) } class="delete" {
                summary aria-label={ "Delete…: " (label) } { "Delete…" }
                form method="post" action=(format!("{page}/dead-letters/{number}/drop")) {
                    (form_token(session))
                    button class="danger" aria-label={ "Delete permanently: " (label) } { "Delete permanently" }
                }
            }
        }
    }
}
