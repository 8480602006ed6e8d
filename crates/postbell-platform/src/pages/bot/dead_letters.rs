//! What was given up.

use maud::{Markup, html};
use postbell_core::{DeadLetter, DeadLetterReason, Timestamp};

use super::test_message::subject;
use super::view::{Mail, View};
use crate::pages::format::{ago, distance};
use crate::pages::layout::form_token;
use crate::pages::session::Session;

/// What was given up, if anything was.
pub(super) fn letters(view: &View, mail: &Mail, session: &Session) -> Markup {
    let Some(last) = mail.letters.first() else {
        return html! {};
    };
    html! {
        h2 { "Given up" }
        ol class="rows" {
            @for letter in &mail.letters {
                li class="row" {
                    span class="badge bad" { (reason_in_words(letter.reason)) }
                    span class="row-main" {
                        (what(letter))
                        span class="cause" { (letter.cause) }
                    }
                    span class="row-side" {
                        (ago(letter.buried_at, view.now))
                        (letter_buttons("/bot", letter, session, view.now))
                    }
                }
            }
        }
        @if mail.given_up > mail.letters.len() as u64 {
            p class="hint" { "The latest of " (mail.given_up) ". What is delivered brings along all that came before it." }
        }
        @if mail.given_up > 1 { (forget_all(mail.given_up, last, session)) }
    }
}

fn forget_all(number: u64, last: &DeadLetter, session: &Session) -> Markup {
    html! {
        details id="forget-all" class="confirm" {
            summary { "Forget all…" }
            form method="post" action="/bot/dead-letters/drop" {
                (form_token(session))
                input type="hidden" name="last" value=(last.id);
                p { "None of these " (number) " notifications can be delivered again then." }
                button class="danger" { "Forget all of them" }
            }
        }
    }
}

/// What was given up.
pub(in crate::pages) fn what(letter: &DeadLetter) -> &'static str {
    match letter.history_id {
        Some(_) => subject(&letter.message_id),
        None => "A message that cannot be read",
    }
}

/// Why, in a word or two.
pub(in crate::pages) fn reason_in_words(reason: DeadLetterReason) -> &'static str {
    match reason {
        DeadLetterReason::Malformed => "Unreadable",
        DeadLetterReason::Refused => "Refused",
        DeadLetterReason::Exhausted => "No answer",
    }
}

/// What can be done with it, on the page at `page`.
pub(in crate::pages) fn letter_buttons(
    page: &str,
    letter: &DeadLetter,
    session: &Session,
    now: Timestamp,
) -> Markup {
    let number = letter.id;
    let which = format!(
        "{}, given up {}",
        what(letter),
        distance(letter.buried_at, now)
    );
    html! {
        span class="buttons" {
            @if letter.reason != DeadLetterReason::Malformed {
                form method="post" action=(format!("{page}/dead-letters/{number}/replay")) {
                    (form_token(session))
                    button aria-label={ "Deliver again: " (which) } { "Deliver again" }
                }
            }
            details id={ "forget-" (number) } class="forget" {
                summary aria-label={ "Forget…: " (which) } { "Forget…" }
                form method="post" action=(format!("{page}/dead-letters/{number}/drop")) {
                    (form_token(session))
                    button class="danger" aria-label={ "Forget it for good: " (which) } { "Forget it for good" }
                }
            }
        }
    }
}
