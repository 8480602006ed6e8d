//! The recent deliveries, and the pending notification.

use maud::{Markup, html};
use postbell_core::{DeliveryRecord, Outcome};

use super::test_message::subject;
use super::view::{Mail, View};
use crate::pages::format::{precise, relative};
use crate::pages::layout::form_token;
use crate::pages::session::Session;

/// How many deliveries are visible at once. The others are collapsed.
const VISIBLE: usize = 8;

pub(super) fn deliveries(view: &View, mail: &Mail, session: &Session) -> Markup {
    html! {
        div class="card-head" {
            h2 { "Deliveries" }
            @if view.wants_notifications() {
                form method="post" action="/bot/test" {
                    (form_token(session))
                    button id="send-test" aria-describedby="test-help" { "Send a test" }
                }
            }
        }
        @if view.wants_notifications() {
            p id="test-help" class="hint" { "A test goes from Postbell to your bot's machine. Only real mail also tests the way from Gmail \
                to Postbell." }
        }
        @if let Some(pending) = &mail.pending {
            p class="pending" {
                span class="dot" aria-hidden="true" {}
                span {
                    @if pending.in_progress { "A notification is being delivered." }
                    @else { "A notification is pending since " (relative(pending.accepted_at, view.now)) "; the next attempt is " (relative(pending.due_at.max(view.now), view.now)) "." }
                }
            }
        }
        @if mail.deliveries.is_empty() {
            p class="empty" { "No deliveries yet." }
        } @else {
            @let (latest, earlier) = mail.deliveries.split_at(mail.deliveries.len().min(VISIBLE));
            @let label = |number: usize| mail.labels.get(number).map(String::as_str);
            ol class="rows" {
                @for (number, delivery) in latest.iter().enumerate() { (row(delivery, label(number), view)) }
            }
            @if !earlier.is_empty() {
                details id="earlier" class="earlier" {
                    summary { "Earlier" }
                    ol class="rows" {
                        @for (number, delivery) in (VISIBLE..).zip(earlier) { (row(delivery, label(number), view)) }
                    }
                }
            }
        }
    }
}

fn row(delivery: &DeliveryRecord, account: Option<&str>, view: &View) -> Markup {
    let (class, text) = outcome(delivery);
    html! {
        li class="row" {
            span class={ "badge " (class) } { (text) }
            span class="row-main" {
                (subject(&delivery.message_id))
                @if let Some(account) = account { " · " span class="address" { (account) } }
                @if delivery.outcome == Outcome::Unwanted { span class="hint" { " · notifications were off" } }
                @if delivery.attempt > 0 { span class="hint" { " · attempt " (delivery.attempt + 1) } }
                @if let Some(cause) = &delivery.cause { span class="cause" { (cause) } }
                @if let Some(trace) = delivery.trace_id { span class="trace" { "trace " code { (trace) } } }
            }
            span class="row-side" {
                (relative(delivery.settled_at, view.now))
                span class="hint" { "took " (precise(delivery.settled_at - delivery.accepted_at)) }
            }
        }
    }
}

/// The CSS class and the text of a delivery's outcome.
pub(in crate::pages) fn outcome(delivery: &DeliveryRecord) -> (&'static str, &'static str) {
    match delivery.outcome {
        Outcome::Delivered => ("good", "Delivered"),
        Outcome::Unwanted => ("quiet", "Skipped"),
        Outcome::Failed => ("warn", "Failed"),
        Outcome::DeadLettered => ("bad", "Dead letter"),
        Outcome::Parked => ("warn", "Parked"),
    }
}
