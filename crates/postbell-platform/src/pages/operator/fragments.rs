//! The fragments of *Operator*.

use maud::{Markup, html};
use postbell_core::{AuditEntry, DeadLetter, ProblemCode, Timestamp, UserRecord};
use postbell_protocol::api::operator::UserFilter;

use super::actions::users_url;
use super::listing::UserQuery;
use super::user::user_url;
use super::view::{Mail, View};
use crate::pages::Pages;
use crate::pages::dead_letters::list;
use crate::pages::format::{count, machine_status, relative, rounded};
use crate::pages::layout::form_token;
use crate::pages::session::Session;
use crate::pages::sse::{Fragment, live_section};

/// The whole page.
pub(super) fn page(view: &View, pages: &Pages, session: &Session) -> Markup {
    html! {
        h1 class="unseen" { "Operator" }
        (live_section("numbers", "numbers", &numbers(view, pages)))
        @if let Some(mail) = &view.mail {
            div class="columns" {
                div class="column" { (live_section("failing", "card", &failing(view, mail))) }
                div class="column" { (live_section("dead-letters", "card", &dead_letters(view, mail, session))) }
            }
        } @else {
            p class="hint" { "The relay runs on another server, so this page shows no deliveries." }
        }
        section class="card" aria-labelledby="users-title" {
            div class="card-head" {
                h2 id="users-title" { "Users" }
                (search(view, session))
            }
            (live_section("users", "list", &users(view, pages)))
        }
        (live_section("changes", "card", &changes(&view.entries, view.now)))
    }
}

/// The fragments that may change while the page is open.
pub(super) fn live(view: &View, pages: &Pages, session: &Session) -> Vec<Fragment> {
    let mut fragments = vec![
        ("numbers", numbers(view, pages)),
        ("users", users(view, pages)),
        ("changes", changes(&view.entries, view.now)),
    ];
    if let Some(mail) = &view.mail {
        fragments.push(("failing", failing(view, mail)));
        fragments.push(("dead-letters", dead_letters(view, mail, session)));
    }
    fragments
}

/// The counts that matter; those of users lead to them.
fn numbers(view: &View, pages: &Pages) -> Markup {
    let number = |name: &str, value: &str, class: &str| {
        html! { div class={ "number " (class) } { span class="value" { (value) } span class="hint" { (name) } } }
    };
    let filter = |(one, many): (&str, &str), value: u64, filter: UserFilter| {
        let name = if value == 1 { one } else { many };
        let class = if value > 0 { "number warn" } else { "number" };
        let url = users_url(pages, &UserQuery::with_filter(filter));
        html! {
            a class=(class) href=(url) { span class="value" { (value) } span class="hint" { (name) } }
        }
    };
    let revoked = ProblemCode::GrantRevoked;
    html! {
        (number(if view.users == 1 { "user" } else { "users" }, &view.users.to_string(), ""))
        (filter(("account gets no mail", "accounts get no mail"), view.counts.without_mail, UserFilter::WithoutMail))
        (filter(("account with a problem", "accounts with a problem"), view.with_problem(), UserFilter::Problem(None)))
        (filter(("dead grant", "dead grants"), view.with(revoked), UserFilter::Problem(Some(revoked))))
        (filter(("watch ends within a day", "watches end within a day"), view.counts.watch_ends, UserFilter::WatchEnds))
        (filter(("machine does not answer", "machines do not answer"), view.counts.unreachable, UserFilter::Unreachable))
        (filter(("user not connected", "users not connected"), view.counts.not_connected, UserFilter::NotConnected))
        @if view.revocations > 0 {
            (number(if view.revocations == 1 { "permission Google has yet to revoke" } else { "permissions Google has yet to revoke" }, &view.revocations.to_string(), "warn"))
        }
        @if let Some(mail) = &view.mail {
            (number(if mail.depth.pending == 1 { "pending mailbox" } else { "pending mailboxes" }, &mail.depth.pending.to_string(), ""))
            @let oldest = mail.depth.oldest_accepted_at.map(|at| view.now - at);
            @let text = oldest.map_or("–".to_owned(), |age| if age.as_secs() < 60 { "< 1 min".to_owned() } else { rounded(age) });
            (number("oldest pending", &text, ""))
            (number(if mail.depth.dead_letters == 1 { "dead letter" } else { "dead letters" }, &mail.depth.dead_letters.to_string(), if mail.depth.dead_letters > 0 { "warn" } else { "" }))
        }
    }
}

fn failing(view: &View, mail: &Mail) -> Markup {
    html! {
        h2 { "Failing" }
        @if mail.failing.is_empty() {
            p class="empty" { "No deliveries are failing." }
        } @else {
            ol class="rows" {
                @for pending in &mail.failing {
                    li class="row" {
                        span class="badge warn" { (count(pending.consecutive_failures.into(), "failure", "failures")) }
                        span class="row-main" { (pending.user) }
                        span class="row-side" {
                            @if let Some(since) = pending.failing_since { span { "first failed " (relative(since, view.now)) } }
                            span class="hint" { "next attempt " (relative(pending.due_at.max(view.now), view.now)) }
                        }
                    }
                }
            }
            @if mail.depth.failing > mail.failing.len() as u64 {
                p class="hint" { "The longest-failing of " (mail.depth.failing) "." }
            }
        }
    }
}

fn dead_letters(view: &View, mail: &Mail, session: &Session) -> Markup {
    let page = (!session.is_viewer()).then_some("/operator");
    let of_user = |dead_letter: &DeadLetter| html! { (dead_letter.user) " · " };
    html! {
        h2 { "Dead letters" }
        @if mail.dead_letters.is_empty() {
            p class="empty" { "There are no dead letters." }
        } @else {
            (list(page, &mail.dead_letters, of_user, session, view.now))
            @if mail.depth.dead_letters > mail.dead_letters.len() as u64 {
                p class="hint" { "The latest of " (mail.depth.dead_letters) "; " code { "postbell dead-letters list" } " lists all." }
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
                option value="user" selected[!view.query.is_by_email()] { "User" }
                option value="email" selected[view.query.is_by_email()] { "Address" }
            }
            label class="unseen" for="search-text" { "Begins with" }
            input id="search-text" name="text" type="search" value=(view.query.prefix())
                placeholder="begins with …" autocomplete="off" spellcheck="false" maxlength="254";
            button { "Search" }
        }
    }
}

/// Links to the users in each state.
fn filters(view: &View, pages: &Pages) -> Markup {
    let link = |filter: Option<UserFilter>, name: &str, number: u64| {
        let is_shown = view.query.filter() == filter;
        let query = filter.map_or_else(UserQuery::default, UserQuery::with_filter);
        html! {
            a href=(users_url(pages, &query)) aria-current=[is_shown.then_some("true")] { (name) " (" (number) ")" }
        }
    };
    let (without, ends) = (view.counts.without_mail, view.counts.watch_ends);
    let unreachable = view.counts.unreachable;
    let not_connected = view.counts.not_connected;
    html! {
        @if without + ends + unreachable + not_connected + view.with_problem() > 0 || view.query.filter().is_some() {
            nav class="paging" aria-label="Users by state" {
                (link(None, "All users", view.users))
                (link(Some(UserFilter::WithoutMail), "Without mail", without))
                (link(Some(UserFilter::WatchEnds), "Watch ends", ends))
                (link(Some(UserFilter::Unreachable), "Does not answer", unreachable))
                (link(Some(UserFilter::NotConnected), "Not connected", not_connected))
                (link(Some(UserFilter::Problem(None)), "With a problem", view.with_problem()))
                @for (code, number) in &view.problems {
                    (link(Some(UserFilter::Problem(Some(*code))), code.as_str(), *number))
                }
            }
        }
    }
}

/// Entries of the audit log.
pub(super) fn changes(entries: &[AuditEntry], now: Timestamp) -> Markup {
    html! {
        h2 { "Changes" }
        @if entries.is_empty() {
            p class="empty" { "No changes yet." }
        } @else {
            ol class="rows" {
                @for entry in entries {
                    li class="row" {
                        span class="badge quiet" { (entry.action) }
                        span class="row-main" {
                            @if let Some(user) = &entry.user { (user) }
                            @if !entry.detail.is_empty() { span class="cause" { (entry.detail) } }
                        }
                        span class="row-side" {
                            (relative(entry.at, now))
                            span class="hint" { (entry.actor) " from " (entry.origin) }
                        }
                    }
                }
            }
            p class="hint" { "The latest; " code { "postbell audit" } " lists all of a year." }
        }
    }
}

fn users(view: &View, pages: &Pages) -> Markup {
    html! {
        (filters(view, pages))
        @if view.records.is_empty() {
            p class="empty" {
                "No users found."
                @if view.query.prefix().contains('@') { " No user id and no address begins with this." }
            }
        } @else {
            div class="scroll" tabindex="0" role="region" aria-label="Users" {
                table {
                    thead { tr { th scope="col" { "User" } th scope="col" { "Machine" } th scope="col" { "Problem" } th scope="col" { "Google account" } th scope="col" { "Notifications" } th scope="col" { "Changed" } } }
                    tbody {
                        @for (record, accounts) in &view.records {
                            (user(record, view, pages))
                            @for account in accounts { (user(account, view, pages)) }
                        }
                    }
                }
            }
        }
        nav class="paging" aria-label="Pages of users" {
            @if !view.query.is_first() { a href=(users_url(pages, &view.query.first())) { "First page" } }
            @if let (true, Some((last, _))) = (view.has_more, view.records.last()) {
                a rel="next" href=(users_url(pages, &view.query.after(last, view.now))) { "Next page" }
            }
        }
    }
}

fn user(record: &UserRecord, view: &View, pages: &Pages) -> Markup {
    let google = record.google.as_ref();
    let (class, text) = machine_status(record);
    html! {
        tr {
            th scope="row" {
                a href=(user_url(pages, record.bot())) { (record.bot()) }
                @if record.owner.is_some() { " " span class="hint" { "further account" } }
            }
            td { span class={ "badge " (class) } { (text) } }
            td {
                @match record.problem {
                    Some(problem) => {
                        span class="badge bad" title=(problem.code.advice()) { (problem.code) }
                        " " span class="hint" { (relative(problem.since, view.now)) }
                    }
                    None => span class="hint" { "none" },
                }
            }
            td {
                @match google {
                    Some(google) => @match &google.email { Some(email) => (email.masked().to_string()), None => "connected" },
                    None => span class="hint" { "not connected" },
                }
            }
            td { @if record.notifications_enabled { "on" } @else { span class="hint" { "off" } } }
            td { (relative(record.updated_at, view.now)) }
        }
    }
}
