//! The last deliveries, and what waits.

use maud::{Markup, html};
use postbell_core::{DeliveryRecord, Outcome};

use super::test_message::subject;
use super::view::{Mail, View};
use crate::pages::format::{ago, exact};
use crate::pages::layout::form_token;
use crate::pages::session::Session;

/// How many are shown at once; the others, on request.
const LATEST: usize = 8;

/// What waits, and what was delivered last.
pub(super) fn deliveries(view: &View, mail: &Mail, session: &Session) -> Markup {
    html! {
        div class="card-head" {
            h2 { "Deliveries" }
            @if view.record.as_instance().wants_notifications() {
                form method="post" action="/bot/test" {
                    (form_token(session))
                    button id="send-test" aria-describedby="test-help" { "Send a test" }
                }
            }
        }
        @if view.record.as_instance().wants_notifications() {
            p id="test-help" class="hint" { "A test goes from here to your bot's machine. It proves the way from Postbell on; only \
                a real mail proves the way from Gmail, too." }
        }
        @if let Some(waiting) = &mail.waiting {
            p class="waits" {
                span class="dot" aria-hidden="true" {}
                @if waiting.under_way { "One is being delivered now." }
                @else { "One waits since " (ago(waiting.accepted_at, view.now)) "; the next attempt is " (ago(waiting.due_at.max(view.now), view.now)) "." }
            }
        }
        @if mail.deliveries.is_empty() {
            p class="empty" { "Nothing was delivered yet." }
        } @else {
            @let (latest, earlier) = mail.deliveries.split_at(mail.deliveries.len().min(LATEST));
            ol class="rows" {
                @for delivery in latest { (row(delivery, view)) }
            }
            @if !earlier.is_empty() {
                details id="earlier" class="earlier" {
                    summary { "Earlier" }
                    ol class="rows" {
                        @for delivery in earlier { (row(delivery, view)) }
                    }
                }
            }
        }
    }
}

fn row(delivery: &DeliveryRecord, view: &View) -> Markup {
    let (class, words) = outcome_in_words(delivery);
    html! {
        li class="row" {
            span class={ "badge " (class) } { (words) }
            span class="row-main" {
                (subject(&delivery.message_id))
                @if delivery.outcome == Outcome::Unwanted { span class="hint" { " · notifications were off" } }
                @if delivery.failures > 0 { span class="hint" { " · attempt " (delivery.failures + 1) } }
                @if let Some(cause) = &delivery.cause { span class="cause" { (cause) } }
            }
            span class="row-side" {
                (ago(delivery.settled_at, view.now))
                span class="hint" { "took " (exact(delivery.settled_at - delivery.accepted_at)) }
            }
        }
    }
}

pub(super) fn outcome_in_words(delivery: &DeliveryRecord) -> (&'static str, &'static str) {
    match delivery.outcome {
        Outcome::Delivered => ("good", "Delivered"),
        Outcome::Unwanted => ("quiet", "Skipped"),
        Outcome::Failed => ("warn", "Failed"),
        Outcome::DeadLettered => ("bad", "Given up"),
    }
}
