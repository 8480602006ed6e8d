//! Gmail's watch on the mailbox, as reported by the machine.

use std::time::Duration;

use maud::{Markup, html};
use postbell_core::{InstanceStatus, Timestamp};

use super::advice::{Advice, Severity};
use super::view::View;
use crate::pages::format::{date_and_distance, distance};

/// A watch lasts a week and is renewed daily, so one that expires this soon has not been renewed for
/// days.
const EXPIRES_SOON: Duration = Duration::from_secs(24 * 60 * 60);

/// When the watch expires.
pub(super) fn watch_expiry(view: &View) -> Markup {
    match view.record.watch_expires_at {
        _ if view.record.google.is_none() => html! { "none" },
        Some(ends) if ends > view.now => html! { "expires " (date_and_distance(ends, view.now)) },
        Some(ended) => html! { "expired " (date_and_distance(ended, view.now)) },
        None if view.is_renewed_here => html! { "renewed by Postbell" },
        None => html! { "renewed daily while your machine runs" },
    }
}

/// A hint about the watch.
pub(super) fn watch_hint(view: &View) -> Markup {
    html! {
        @if view.record.google.is_some() {
            p class="hint" {
                @if view.is_renewed_here {
                    "Gmail's watch on your mailbox lasts a week. Your machine and Postbell renew it."
                } @else if view.record.watch_expires_at.is_some() {
                    "Gmail's watch on your mailbox lasts a week. Your machine renews it every day."
                } @else {
                    "Your machine has not reported when Gmail's watch expires. Run " code { "postbell watch status" }
                    " on the machine."
                }
            }
        }
    }
}

/// Advice if the watch has expired or expires soon.
pub(super) fn watch_advice(view: &View) -> Option<Advice> {
    let ends = view.record.watch_expires_at?;
    if ends <= view.now {
        return Some(Advice::new(
            Severity::Bad,
            "Gmail's watch on your mailbox has expired",
            html! {
                "It expired " (date_and_distance(ends, view.now)) ". Gmail sends no \
                 notifications without a watch. "
                (next_step(view))
            },
        ));
    }
    (ends - view.now <= EXPIRES_SOON).then(|| expires_soon(view, ends))
}

fn expires_soon(view: &View, ends: Timestamp) -> Advice {
    let title = format!(
        "Gmail's watch on your mailbox expires {}",
        distance(ends, view.now)
    );
    Advice::new(
        Severity::Warn,
        &title,
        html! {
            "Gmail sends no notifications after that. It should have been renewed days ago. " (next_step(view))
        },
    )
}

fn next_step(view: &View) -> Markup {
    if view.is_renewed_here {
        html! {
            "Postbell tries to renew it. Often Google requires your consent again: "
            a href="#connection" { "connect the account again" } "."
        }
    } else if view.is_off() {
        html! { "Start your machine, which renews it: without a watch, new mail cannot start the machine." }
    } else if view.record.status == InstanceStatus::Starting {
        html! { "Your machine is starting and renews it then." }
    } else {
        html! {
            "Restart your machine, which renews it. If that does not help, see its log; often Google requires your \
             consent again: " a href="#connection" { "connect the account again" } "."
        }
    }
}
