//! The parts of the page.

use maud::{Markup, html};
use postbell_core::UserRecord;

use super::actions::page_of;
use super::view::{Mail, View};
use crate::pages::Pages;
use crate::pages::bot::dead_letters::{letter_buttons, reason_in_words, what};
use crate::pages::format::{ago, count, machine, rough};
use crate::pages::layout::form_token;
use crate::pages::session::Session;
use crate::pages::sse::{Fragment, place};

/// The whole page.
pub(super) fn all(view: &View, pages: &Pages, session: &Session) -> Markup {
    html! {
        h1 class="unseen" { "Operator" }
        (place("numbers", "numbers", &numbers(view)))
        @if let Some(mail) = &view.mail {
            div class="columns" {
                div class="column" { (place("failing", "card", &failing(view, mail))) }
                div class="column" { (place("letters", "card", &letters(view, mail, session))) }
            }
        } @else {
            p class="hint" { "The relay runs elsewhere: what waits, and what fails, is known there." }
        }
        section class="card" aria-labelledby="users-title" {
            div class="card-head" {
                h2 id="users-title" { "Users" }
                (search(view, session))
            }
            (place("users", "list", &users(view, pages)))
        }
    }
}

/// Those of its parts that may change while it is open.
pub(super) fn that_change(view: &View, pages: &Pages, session: &Session) -> Vec<Fragment> {
    let mut parts = vec![("numbers", numbers(view)), ("users", users(view, pages))];
    if let Some(mail) = &view.mail {
        parts.push(("failing", failing(view, mail)));
        parts.push(("letters", letters(view, mail, session)));
    }
    parts
}

fn numbers(view: &View) -> Markup {
    let number = |name: &str, value: &str, class: &str| {
        html! { div class={ "number " (class) } { span class="value" { (value) } span class="hint" { (name) } } }
    };
    html! {
        (number("users", &view.users.to_string(), ""))
        @if let Some(mail) = &view.mail {
            (number("mailboxes waiting", &mail.depth.waiting.to_string(), ""))
            @let oldest = mail.depth.oldest_accepted_at.map(|at| view.now - at);
            @let words = oldest.map_or("–".to_owned(), |age| if age.as_secs() < 60 { "< 1 min".to_owned() } else { rough(age) });
            (number("waits longest", &words, ""))
            (number("given up", &mail.depth.dead_letters.to_string(), if mail.depth.dead_letters > 0 { "warn" } else { "" }))
        }
    }
}

fn failing(view: &View, mail: &Mail) -> Markup {
    html! {
        h2 { "Failing" }
        @if mail.failing.is_empty() {
            p class="empty" { "No delivery is failing." }
        } @else {
            ol class="rows" {
                @for waiting in &mail.failing {
                    li class="row" {
                        span class="badge warn" { (count(waiting.failures.into(), "failure", "failures")) }
                        span class="row-main" { (waiting.user) }
                        span class="row-side" {
                            @if let Some(since) = waiting.failing_since { span { "first failed " (ago(since, view.now)) } }
                            span class="hint" { "next attempt " (ago(waiting.due_at.max(view.now), view.now)) }
                        }
                    }
                }
            }
            @if mail.depth.failing > mail.failing.len() as u64 {
                p class="hint" { "Those that fail longest, of " (mail.depth.failing) "." }
            }
        }
    }
}

fn letters(view: &View, mail: &Mail, session: &Session) -> Markup {
    html! {
        h2 { "Given up" }
        @if mail.letters.is_empty() {
            p class="empty" { "Nothing was given up." }
        } @else {
            ol class="rows" {
                @for letter in &mail.letters {
                    li class="row" {
                        span class="badge bad" { (reason_in_words(letter.reason)) }
                        span class="row-main" {
                            (letter.user) " · " (what(letter))
                            span class="cause" { (letter.cause) }
                        }
                        span class="row-side" {
                            (ago(letter.buried_at, view.now))
                            (letter_buttons("/operator", letter, session, view.now))
                        }
                    }
                }
            }
            @if mail.depth.dead_letters > mail.letters.len() as u64 {
                p class="hint" { "The latest of " (mail.depth.dead_letters) "; " code { "postbell dead-letters list" } " shows them all." }
            }
        }
    }
}

fn search(view: &View, session: &Session) -> Markup {
    html! {
        form class="search" method="post" action="/operator/search" role="search" {
            (form_token(session))
            label class="unseen" for="search-by" { "Search by" }
            select id="search-by" name="by" {
                option value="user" selected[!view.wanted.by_email] { "User" }
                option value="email" selected[view.wanted.by_email] { "Address" }
            }
            label class="unseen" for="search-text" { "Begins with" }
            input id="search-text" name="text" type="search" value=(view.wanted.prefix)
                placeholder="begins with …" autocomplete="off" spellcheck="false" maxlength="254";
            button { "Search" }
        }
    }
}

fn users(view: &View, pages: &Pages) -> Markup {
    html! {
        @if view.records.is_empty() {
            p class="empty" { "There are no such users." }
        } @else {
            div class="scroll" tabindex="0" role="region" aria-label="Users" {
                table {
                    thead { tr { th scope="col" { "User" } th scope="col" { "Machine" } th scope="col" { "Google account" } th scope="col" { "Notifications" } th scope="col" { "Changed" } } }
                    tbody { @for record in &view.records { (user(record, view)) } }
                }
            }
        }
        nav class="paging" aria-label="Pages of users" {
            @if !view.wanted.is_first() { a href=(page_of(pages, &view.wanted.first())) { "First page" } }
            @if let (true, Some(last)) = (view.has_more, view.records.last()) {
                a rel="next" href=(page_of(pages, &view.wanted.after(last))) { "Next page" }
            }
        }
    }
}

fn user(record: &UserRecord, view: &View) -> Markup {
    let google = record.google.as_ref();
    let (class, words) = machine(record.status);
    html! {
        tr {
            th scope="row" { (record.user) }
            td { span class={ "badge " (class) } { (words) } }
            td {
                @match google {
                    Some(google) => @match &google.email { Some(email) => (email.masked().to_string()), None => "connected" },
                    None => span class="hint" { "not connected" },
                }
            }
            td { @if record.notifications_enabled { "on" } @else { span class="hint" { "off" } } }
            td { (ago(record.updated_at, view.now)) }
        }
    }
}
