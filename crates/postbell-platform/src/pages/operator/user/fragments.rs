//! The fragments of a user's page.

use maud::{Markup, html};
use postbell_core::{MachineLocation, ManagedMachine, UserRecord};

use super::{Mail, View};
use crate::pages::bot::{outcome, test_message::subject};
use crate::pages::dead_letters::list;
use crate::pages::format::{date_and_distance, machine_status, precise, relative};
use crate::pages::layout::form_token;
use crate::pages::operator::fragments::changes;
use crate::pages::session::Session;
use crate::pages::sse::{Fragment, live_section};

/// The whole page, with an invitation that was just made.
pub(super) fn page(view: &View, url: &str, session: &Session, invitation: Option<&str>) -> Markup {
    html! {
        h1 { (view.record.user) }
        p { a href="/operator#users" { "All users" } }
        @if let Some(message) = invitation { (invited(message, url)) }
        div class="columns" {
            div class="column" {
                (live_section("connection", "card", &connection(view)))
                (live_section("machine", "card", &machine(view)))
                @if !session.is_viewer() { (access(url, session)) }
            }
            div class="column" {
                @match &view.mail {
                    Some(mail) => {
                        (live_section("deliveries", "card", &deliveries(view, mail)))
                        (live_section("dead-letters", "card", &dead_letters(view, mail, url, session)))
                    }
                    None => p class="hint" { "The relay runs on another server, so this page shows no deliveries." },
                }
            }
        }
        (live_section("changes", "card", &changes(&view.entries, view.now)))
    }
}

/// The fragments that may change while the page is open.
pub(super) fn live(view: &View, url: &str, session: &Session) -> Vec<Fragment> {
    let mut fragments = vec![
        ("connection", connection(view)),
        ("machine", machine(view)),
        ("changes", changes(&view.entries, view.now)),
    ];
    if let Some(mail) = &view.mail {
        fragments.push(("deliveries", deliveries(view, mail)));
        let letters = dead_letters(view, mail, url, session);
        fragments.push(("dead-letters", letters));
    }
    fragments
}

/// A row with a name and a value.
fn fact(name: &str, value: &Markup) -> Markup {
    html! { li class="row" { span class="row-main hint" { (name) } span class="row-side" { (value) } } }
}

fn on_or_off(is_on: bool) -> Markup {
    html! { @if is_on { "on" } @else { "off" } }
}

fn connection(view: &View) -> Markup {
    html! {
        h2 { @if view.accounts.is_empty() { "Connection" } @else { "Connections" } }
        (account(&view.record, view))
        @for further in &view.accounts {
            h3 { "Further account" }
            (account(further, view))
        }
    }
}

fn account(record: &UserRecord, view: &View) -> Markup {
    let account = match &record.google {
        None => html! { "not connected" },
        Some(google) => html! {
            @match &google.email { Some(email) => (email.masked().to_string()), None => "connected" }
            " " span class="hint" { (relative(google.connected_at, view.now)) }
        },
    };
    html! {
        @if let Some(problem) = record.problem {
            p class="pending" {
                span class="badge bad" { (problem.code) }
                span { "since " (relative(problem.since, view.now)) ". " (problem.code.advice()) }
            }
        }
        ol class="rows" {
            (fact("Google account", &account))
            @if record.owner.is_some() { (fact("Record", &html! { (record.user) })) }
            (fact("Notifications", &on_or_off(record.notifications_enabled)))
            @if let Some(end) = record.watch_expires_at {
                (fact("Gmail's watch ends", &date_and_distance(end, view.now)))
            }
            @if let Some(id) = record.last_history_id {
                (fact("Delivered up to history id", &html! { (id) }))
            }
            @if record.mail_dead_letters > 0 {
                (fact("Mails set aside on the machine", &html! { (record.mail_dead_letters) }))
            }
        }
    }
}

fn machine(view: &View) -> Markup {
    let record = &view.record;
    let (class, status) = machine_status(record);
    let location = match &record.location {
        MachineLocation::Unknown => "unknown".to_owned(),
        MachineLocation::Managed(ManagedMachine { app, machine }) => format!("{app}/{machine}"),
        // Without what a URL may have of a password.
        MachineLocation::Url(url) => url.origin().ascii_serialization(),
    };
    html! {
        h2 { "Machine" }
        ol class="rows" {
            (fact("Status", &html! { span class={ "badge " (class) } { (status) } }))
            (fact("Location", &html! { (location) }))
            (fact("Sandbox id", &html! { (record.sandbox_id) }))
            (fact("Started for mail", &on_or_off(record.wake_on_mail)))
            @if record.pending_sync.is_some() {
                (fact("Configuration", &html! { span class="badge warn" { "not up to date" } }))
            }
            (fact("Added", &date_and_distance(record.created_at, view.now)))
        }
    }
}

fn access(url: &str, session: &Session) -> Markup {
    html! {
        section id="access" class="card" aria-labelledby="access-title" {
            h2 id="access-title" { "Access" }
            form method="post" action={ (url) "/invite" } {
                (form_token(session))
                p class="hint" { "A message with a link that signs the user in once, within a week." }
                button class="primary" { "Invite" }
            }
            details id="signing-out" class="confirm" {
                summary { "Sign out everywhere…" }
                form method="post" action={ (url) "/sign-out" } {
                    (form_token(session))
                    p { "The user's sessions end on every device, and unused links and tokens are revoked." }
                    button class="danger" { "Sign this user out" }
                }
            }
            details id="renaming" class="confirm" {
                summary { "New sandbox id…" }
                form method="post" action={ (url) "/sandbox-id" } {
                    (form_token(session))
                    p {
                        "The token of the user's machine ends: use this if somebody else may have it, or still has the machine. \
                         No mail arrives until the machine has the new " code { "KILOCLAW_SANDBOX_ID" } " and its new token as "
                        code { "OPENCLAW_GATEWAY_TOKEN" } ", and was restarted."
                    }
                    button class="danger" { "Draw a new sandbox id" }
                }
            }
        }
    }
}

fn invited(message: &str, url: &str) -> Markup {
    html! {
        section class="card" aria-labelledby="invitation-title" {
            h2 id="invitation-title" { "Invitation" }
            p { "Send this to the user. It is not shown again." }
            pre class="command" id="invitation" tabindex="0" { code { (message) } }
            button class="primary" type="button" data-copy="invitation" hidden { "Copy message" }
            " " a href=(url) { "Done" }
        }
    }
}

fn deliveries(view: &View, mail: &Mail) -> Markup {
    html! {
        h2 { "Deliveries" }
        @if let Some(pending) = &mail.pending {
            p class="pending" {
                span { "A notification is pending since " (relative(pending.accepted_at, view.now)) "." }
            }
        }
        @if mail.deliveries.is_empty() {
            p class="empty" { "No deliveries yet." }
        } @else {
            ol class="rows" {
                @for delivery in &mail.deliveries {
                    @let (class, text) = outcome(delivery);
                    li class="row" {
                        span class={ "badge " (class) } { (text) }
                        span class="row-main" {
                            (subject(&delivery.message_id))
                            @if let Some(cause) = &delivery.cause { span class="cause" { (cause) } }
                        }
                        span class="row-side" {
                            (relative(delivery.settled_at, view.now))
                            span class="hint" { "took " (precise(delivery.settled_at - delivery.accepted_at)) }
                        }
                    }
                }
            }
        }
    }
}

fn dead_letters(view: &View, mail: &Mail, url: &str, session: &Session) -> Markup {
    let page = (!session.is_viewer()).then_some(url);
    html! {
        h2 { "Dead letters" }
        @if mail.dead_letters.is_empty() {
            p class="empty" { "There are no dead letters." }
        } @else {
            (list(page, &mail.dead_letters, |_| html! {}, session, view.now))
            @if mail.dead_letter_count > mail.dead_letters.len() as u64 {
                p class="hint" { "The latest of " (mail.dead_letter_count) "." }
            }
        }
    }
}
