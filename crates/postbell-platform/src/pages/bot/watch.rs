//! Gmail's watch on the mailbox: until when it holds, as the machine said.

use std::time::Duration;

use maud::{Markup, html};
use postbell_core::{InstanceStatus, Timestamp};

use super::advice::{Advice, Tone, say};
use super::view::View;
use crate::pages::format::{distance, when};

/// A watch that ends so soon has not been renewed for days: it holds for a week, and machines renew
/// it every day.
const SOON: Duration = Duration::from_secs(24 * 60 * 60);

/// Until when it holds.
pub(super) fn watch(view: &View) -> Markup {
    match view.record.watch_expires_at {
        _ if view.record.google.is_none() => html! { "none" },
        Some(ends) if ends > view.now => html! { "holds until " (when(ends, view.now)) },
        Some(ended) => html! { "ended " (when(ended, view.now)) },
        None => html! { "renewed daily, while your machine runs" },
    }
}

/// What the words above do not say.
pub(super) fn about_watch(view: &View) -> Markup {
    html! {
        @if view.record.google.is_some() {
            p class="hint" {
                @if view.record.watch_expires_at.is_some() {
                    "Gmail's watch on your mailbox holds for a week. Your machine renews it every day."
                } @else {
                    "Your machine has not said until when Gmail's watch holds: " code { "postbell watch status" }
                    " there does."
                }
            }
        }
    }
}

/// What is wrong with it, as far as the machine has said.
pub(super) fn of_watch(view: &View) -> Option<Advice> {
    let ends = view.record.watch_expires_at?;
    if ends <= view.now {
        return Some(say(
            Tone::Bad,
            "Gmail's watch on your mailbox has ended",
            html! {
                "As far as your machine has said, it ended " (when(ends, view.now)) ": Gmail announces no mail any \
                 more. "
                (next_step(view))
            },
        ));
    }
    (ends - view.now <= SOON).then(|| ends_soon(view, ends))
}

fn ends_soon(view: &View, ends: Timestamp) -> Advice {
    let title = format!(
        "Gmail's watch on your mailbox ends {}",
        distance(ends, view.now)
    );
    say(
        Tone::Warn,
        &title,
        html! {
            "Gmail announces no mail then. Your machine should have renewed the watch days ago. " (next_step(view))
        },
    )
}

fn next_step(view: &View) -> Markup {
    if view.is_off() {
        html! { "Start your machine, which renews it: no mail wakes a machine whose watch has ended." }
    } else if view.record.status == InstanceStatus::Starting {
        html! { "Your machine is starting, and renews it when it is up." }
    } else {
        html! {
            "Restart your machine, which renews it. Where that does not help, its log says why; often Google asks for \
             your consent again: " a href="#connection" { "connect the account again" } "."
        }
    }
}
