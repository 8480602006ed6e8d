//! What was given up.

use maud::{Markup, html};
use postbell_core::{DeadLetter, DeathReason};

use super::test_message::TEST_ID;
use super::view::{Mail, View};
use crate::pages::layout::form_token;
use crate::pages::session::Session;
use crate::pages::words::ago;

/// What was given up, if anything was.
pub(super) fn letters(view: &View, mail: &Mail, session: &Session) -> Markup {
    if mail.letters.is_empty() {
        return html! {};
    }
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
                        (letter_buttons("/bot", letter, session))
                    }
                }
            }
        }
    }
}

/// What was given up.
pub(in crate::pages) fn what(letter: &DeadLetter) -> Markup {
    html! {
        @match letter.history_id {
            Some(_) if letter.message_id.as_str().starts_with(TEST_ID) => "Test",
            Some(id) => { "Mail up to " code { (id) } },
            None => "A message that cannot be read",
        }
    }
}

/// Why, in a word or two.
pub(in crate::pages) fn reason_in_words(reason: DeathReason) -> &'static str {
    match reason {
        DeathReason::Malformed => "Unreadable",
        DeathReason::Refused => "Refused",
        DeathReason::Exhausted => "No answer",
    }
}

/// What can be done with it, on the page at `page`.
pub(in crate::pages) fn letter_buttons(
    page: &str,
    letter: &DeadLetter,
    session: &Session,
) -> Markup {
    let number = letter.id;
    html! {
        span class="buttons" {
            @if letter.reason != DeathReason::Malformed {
                form method="post" action=(format!("{page}/dead-letters/{number}/replay")) {
                    (form_token(session))
                    button aria-label={ "Deliver number " (number) " again" } { "Deliver again" }
                }
            }
            form method="post" action=(format!("{page}/dead-letters/{number}/drop")) {
                (form_token(session))
                button class="quiet" aria-label={ "Forget number " (number) } { "Forget" }
            }
        }
    }
}
