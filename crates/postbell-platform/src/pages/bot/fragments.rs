//! The parts of the page.

use maud::{Markup, html};

use super::advice::advice;
use super::chart::chart;
use super::connection::{Command, connect_with, connection};
use super::dead_letters::letters;
use super::deliveries::{deliveries, outcome_in_words};
use super::pending_sync;
use super::test_message::subject;
use super::view::{Heard, Mail, View};
use super::watch::{about_watch, watch};
use crate::pages::format::{ago, exact, machine};
use crate::pages::layout::Switch;
use crate::pages::session::Session;
use crate::pages::sse::{Fragment, place};

/// The whole page; with the command where it was asked for.
pub(super) fn all(view: &View, session: &Session, command: Option<&Command>) -> Markup {
    html! {
        h1 class="unseen" { "My bot" }
        (place("state", "state", &state(view)))
        div class="columns" {
            div class="column" {
                (place("settings", "card", &settings(view, session)))
                @match command {
                    Some(command) => section id="connection" class="card" { (connect_with(command)) },
                    None => (place("connection", "card", &connection(view, session))),
                }
            }
            div class="column" {
                (place("facts", "card", &facts(view)))
                @if let Some(mail) = &view.mail {
                    (place("day", "card", &chart(&mail.hours, view.now)))
                }
            }
        }
        @if let Some(mail) = &view.mail {
            (place("deliveries", "card", &deliveries(view, mail, session)))
            (place("letters", "card", &letters(view, mail, session)))
        }
    }
}

/// Those of its parts that may change while it is open.
pub(super) fn that_change(view: &View, session: &Session) -> Vec<Fragment> {
    let mut parts = vec![
        ("state", state(view)),
        ("settings", settings(view, session)),
        ("connection", connection(view, session)),
        ("facts", facts(view)),
    ];
    if let Some(mail) = &view.mail {
        parts.push(("day", chart(&mail.hours, view.now)));
        parts.push(("deliveries", deliveries(view, mail, session)));
        parts.push(("letters", letters(view, mail, session)));
        parts.push(("said", html! { (last_words(mail)) }));
    }
    parts
}

/// For those who hear the page: what came last.
fn last_words(mail: &Mail) -> String {
    mail.deliveries
        .first()
        .map_or_else(String::new, |delivery| {
            let how = outcome_in_words(delivery).1;
            format!("Last delivery: {}, {how}", subject(&delivery.message_id))
        })
}

fn state(view: &View) -> Markup {
    let advice = advice(view);
    html! {
        div class={ "state-inner " (advice.tone.class()) } {
            span class="lamp" aria-hidden="true" {}
            div {
                h2 { (advice.title) }
                p { (advice.text) }
            }
        }
    }
}

fn settings(view: &View, session: &Session) -> Markup {
    let record = &view.record;
    html! {
        h2 { "Settings" }
        (pending_sync::notice(view, session))
        @if record.google.is_some() {
            (Switch {
                id: "switch-notifications",
                action: "/bot/notifications",
                label: "Gmail notifications",
                help: "Your bot hears of new mail within a second or two.",
                is_on: record.notifications_enabled,
            }.markup(session))
        } @else {
            p class="hint" { "Gmail notifications can be switched on once a Google account is connected." }
        }
        @if view.is_managed {
            (Switch {
                id: "switch-wake",
                action: "/bot/wake",
                label: "Wake on mail",
                help: "Mail may start your machine when it is off: at most once in five minutes. Running time is yours to pay.",
                is_on: record.wake_on_mail,
            }.markup(session))
        }
    }
}

fn facts(view: &View) -> Markup {
    let record = &view.record;
    html! {
        h2 { "How it stands" }
        dl {
            div { dt { "Machine" } dd { (machine(record.status).1) } }
            @if view.mail.is_some() {
                div { dt { "Last mail from Gmail" } dd {
                    @match view.last_heard() {
                        Heard::At(at) => (ago(at, view.now)),
                        Heard::Nothing => "none yet",
                        Heard::Unknown => "before the deliveries below",
                    }
                } }
                div { dt { "Last delivery" } dd {
                    @match view.last_delivered() {
                        Some(last) => {
                            (ago(last.settled_at, view.now))
                            ", took " (exact(last.settled_at - last.accepted_at))
                        },
                        None => "none yet",
                    }
                } }
            }
            div { dt { "Watch" } dd { (watch(view)) } }
        }
        (about_watch(view))
    }
}
