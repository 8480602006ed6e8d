//! The fragments of *My bot*.

use maud::{Markup, html};

use super::advice::{
    Advice, Severity, configuration_advice, delivery_advice, machine_advice, no_problem,
    problem_advice,
};
use super::alerts;
use super::chart::chart;
use super::connection::{Command, connection, setup_command};
use super::dead_letters::dead_letters;
use super::deliveries::{deliveries, outcome};
use super::test_message::subject;
use super::view::{LastPush, View};
use super::watch::{watch_advice, watch_expiry, watch_hint};
use super::{pending_sync, restart};
use crate::pages::format::{date_and_distance, machine_status, precise, relative};
use crate::pages::layout::Switch;
use crate::pages::session::Session;
use crate::pages::sse::{Fragment, live_section};

/// The whole page, with the setup command if it was requested.
pub(super) fn page(view: &View, session: &Session, command: Option<&Command>) -> Markup {
    html! {
        h1 class="unseen" { "My bot" }
        (live_section("state", "state", &state(view)))
        div class="columns" {
            div class="column" {
                (live_section("settings", "card", &settings(view, session)))
                @match command {
                    Some(command) => section id="connection" class="card" { (setup_command(command)) },
                    None => (live_section("connection", "card", &connection(view, session))),
                }
                section id="alerts" class="card" aria-labelledby="alerts-title" {
                    h2 id="alerts-title" { "Alerts" }
                    p class="hint" { "You are told when mail stops reaching your bot, and when it reaches it again." }
                    (live_section("alert-targets", "list", &alerts::targets(view, session)))
                    (alerts::add_forms(view, session))
                }
            }
            div class="column" {
                (live_section("facts", "card", &facts(view)))
                @if let Some(mail) = &view.mail {
                    (live_section("day", "card", &chart(&mail.hours, view.now)))
                }
            }
        }
        @if let Some(mail) = &view.mail {
            (live_section("deliveries", "card", &deliveries(view, mail, session)))
            (live_section("dead-letters", "card", &dead_letters(view, mail, session)))
        }
    }
}

/// The fragments that may change while the page is open.
pub(super) fn live(view: &View, session: &Session) -> Vec<Fragment> {
    let mut fragments = vec![
        ("state", state(view)),
        ("settings", settings(view, session)),
        ("connection", connection(view, session)),
        ("alert-targets", alerts::targets(view, session)),
        ("announcement", html! { (announcement(view)) }),
        ("facts", facts(view)),
    ];
    if let Some(mail) = &view.mail {
        fragments.push(("day", chart(&mail.hours, view.now)));
        fragments.push(("deliveries", deliveries(view, mail, session)));
        fragments.push(("dead-letters", dead_letters(view, mail, session)));
    }
    fragments
}

/// The last delivery or, with a problem or without a delivery, the state: for screen readers. Never
/// empty, because the script does not announce the first text.
fn announcement(view: &View) -> String {
    let deliveries = view.mail.as_ref().map(|mail| &mail.deliveries);
    let last = deliveries.and_then(|deliveries| deliveries.first());
    let has_problem = |view: &View| view.record.problem.is_some();
    let has_problem = has_problem(view) || view.accounts.iter().any(has_problem);
    match last.filter(|_| !has_problem) {
        Some(delivery) => {
            let (_, text) = outcome(delivery);
            format!("Last delivery: {}, {text}", subject(&delivery.message_id))
        }
        None => advice(view).title,
    }
}

fn state(view: &View) -> Markup {
    let advice = advice(view);
    html! {
        div class={ "state-inner " (advice.severity.class()) } {
            span class="lamp" aria-hidden="true" {}
            div {
                h2 { (advice.title) }
                p { (advice.text) }
            }
        }
    }
}

/// The most important problem, or the summary without one: of several accounts, the worst.
fn advice(view: &View) -> Advice {
    let accounts = view
        .accounts
        .iter()
        .map(|account| (account, known_advice(account)));
    let of_accounts = accounts.filter_map(|(account, advice)| {
        let advice = advice?;
        let is_of_account = !matches!(advice.severity, Severity::Good);
        Some(Advice {
            title: if is_of_account && view.accounts.len() > 1 {
                format!("{}: {}", account.label(), advice.title)
            } else {
                advice.title
            },
            ..advice
        })
    });
    let worst = of_accounts.reduce(|worst, next| {
        if next.severity > worst.severity {
            next
        } else {
            worst
        }
    });
    match (worst, &*view.accounts) {
        (Some(worst), _) => worst,
        (None, []) => known_advice(view).unwrap_or_else(|| no_problem(view)),
        (None, _) => no_problem(view),
    }
}

/// The most important problem.
fn known_advice(view: &View) -> Option<Advice> {
    let mail = view.mail.as_ref();
    configuration_advice(view)
        .or_else(|| problem_advice(view))
        .or_else(|| mail.and_then(|mail| delivery_advice(view, mail)))
        .or_else(|| watch_advice(view))
        .or_else(|| machine_advice(view))
}

fn settings(view: &View, session: &Session) -> Markup {
    let record = &view.record;
    html! {
        h2 { "Settings" }
        (pending_sync::notice(view, session))
        @if !view.accounts.is_empty() {
            p class="hint" { "Each Google account has its own switch below." }
        } @else if record.google.is_some() {
            (Switch {
                id: "switch-notifications",
                action: "/bot/notifications",
                label: "Gmail notifications",
                help: notifications_help(record.notifications_enabled, view.is_managed),
                is_on: record.notifications_enabled,
                account: None,
            }.markup(session))
        } @else {
            p class="hint" { "Connect a Google account to turn on Gmail notifications." }
        }
        (restart::notice(view))
        @if view.is_managed {
            (Switch {
                id: "switch-wake",
                action: "/bot/wake",
                label: "Wake on mail",
                help: "New mail starts your machine when it is off, at most once in five minutes. You pay for the running time.",
                is_on: record.wake_on_mail,
                account: None,
            }.markup(session))
        }
    }
}

/// What the switch does. Its setting is a variable of the machine.
fn notifications_help(is_on: bool, is_managed: bool) -> &'static str {
    match (is_on, is_managed) {
        (true, false) => "Your bot is notified of new mail within seconds.",
        (true, true) => {
            "Your bot is notified of new mail within seconds. Switching this off restarts its machine."
        }
        (false, false) => "Your bot is not notified of new mail.",
        (false, true) => {
            "Your bot is not notified of new mail. Switching this on restarts its machine."
        }
    }
}

fn facts(view: &View) -> Markup {
    let record = &view.record;
    html! {
        h2 { "Status" }
        dl {
            div { dt { "Machine" } dd {
                (machine_status(record).1)
                @if let Some(since) = record.unreachable_since { " since " (date_and_distance(since, view.now)) }
            } }
            @if view.mail.is_some() {
                div { dt { "Last notification from Gmail" } dd {
                    @match view.last_push() {
                        LastPush::At(at) => (relative(at, view.now)),
                        LastPush::None => "none yet",
                        LastPush::Unknown => "before the deliveries below",
                    }
                } }
                div { dt { "Last delivery" } dd {
                    @match view.last_delivered() {
                        Some(last) => {
                            (relative(last.settled_at, view.now))
                            ", took " (precise(last.settled_at - last.accepted_at))
                        },
                        None => "none yet",
                    }
                } }
            }
            @if view.accounts.is_empty() {
                div { dt { "Watch" } dd { (watch_expiry(view)) } }
            }
            @if view.mail_dead_letters() > 0 {
                div { dt { "Mails set aside" } dd { (view.mail_dead_letters()) } }
            }
        }
        @if view.mail_dead_letters() > 0 {
            p class="hint" { "Your bot or Gmail refuses these mails; the others are delivered. On the machine, "
                code { "postbell watch dead-letters list" } " shows why, and " code { "replay" } " delivers them again." }
        }
        @if view.accounts.is_empty() { (watch_hint(view)) }
    }
}
