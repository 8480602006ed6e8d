//! Several Google accounts of one bot: a card for each, and the way to a further one.

use maud::{Markup, html};
use postbell_core::{MAX_ACCOUNTS_OF_USER, UserId, UserRecord};

use super::connection::COMMAND;
use super::google::START;
use super::view::View;
use super::watch::watch_expiry;
use crate::pages::format::relative;
use crate::pages::layout::{Switch, form_token};
use crate::pages::session::Session;
use crate::pages::{PageError, Pages};

/// The field of a form that names the record of an account.
pub(super) const ACCOUNT: &str = "account";

/// The field of a form that asks for another account.
pub(super) const ANOTHER: &str = "another";

/// The ids of the records of a bot.
pub(super) async fn records_of(
    pages: &Pages,
    record: &UserRecord,
) -> Result<Vec<UserId>, PageError> {
    let accounts = pages.users().fleet.accounts_of(record).await?;
    let further = accounts.into_iter().map(|account| account.user);
    Ok(std::iter::once(record.user.clone())
        .chain(further)
        .collect())
}

/// Returns the record of the bot that a form names; its own one if it names none. `None` if there is no such record any more,
/// or it is another bot's.
pub(super) async fn named(
    pages: &Pages,
    record: &UserRecord,
    id: Option<&str>,
) -> Result<Option<UserRecord>, PageError> {
    let Some(id) = id.filter(|id| *id != record.user.as_str()) else {
        return Ok(Some(record.clone()));
    };
    let accounts = pages.users().fleet.accounts_of(record).await?;
    Ok(accounts.into_iter().find(|it| it.user.as_str() == id))
}

/// The cards of all accounts.
pub(super) fn cards(view: &View, session: &Session) -> Markup {
    html! {
        h2 { "Google accounts" }
        ul class="accounts" {
            @for account in &view.accounts {
                li class="account" { (card(account, session)) }
            }
        }
        (connect_another(view, session))
    }
}

fn card(account: &View, session: &Session) -> Markup {
    let record = &account.record;
    // Ends of records' ids differ, and have only characters of an element's id.
    let end = record.owner.as_ref().map_or("first", |_| {
        let id = record.user.as_str();
        id.rsplit('.').next().unwrap_or(id)
    });
    let (title, label) = (format!("account-{end}"), account.label());
    let google = record.google.as_ref();
    html! {
        h3 id=(title) class="address" { (label) }
        @if let Some(problem) = record.problem {
            p class="account-problem" {
                span class="badge bad" { (problem.code) }
                " " (problem.code.advice())
            }
        }
        p class="hint" {
            @if let Some(google) = google { "connected " (relative(google.connected_at, account.now)) ", " }
            "watch " (watch_expiry(account))
        }
        (Switch {
            id: &format!("switch-{end}"),
            action: "/bot/notifications",
            label: "Notifications",
            help: if record.notifications_enabled { "Your bot is notified of its new mail." } else { "Your bot is not notified of its new mail." },
            is_on: record.notifications_enabled,
            account: Some(&record.user),
        }.markup(session))
        (actions(account, session, end))
        details id={ "disconnecting-" (end) } class="confirm" {
            summary aria-label={ "Disconnect " (label) "…" } { "Disconnect…" }
            form method="post" action="/bot/disconnect" {
                (form_token(session))
                input type="hidden" name=(ACCOUNT) value=(record.user);
                p {
                    "Postbell deletes the credentials and its position in this mailbox. Your other accounts stay connected. "
                    @if account.is_renewed_here { "Google takes the permission back." }
                    @else { "The permission stays in this Google account until you remove it there." }
                }
                button id={ "disconnect-" (end) } class="danger" aria-label={ "Disconnect " (label) } { "Disconnect this account" }
            }
        }
    }
}

/// What can be done with an account, beside disconnecting it.
fn actions(account: &View, session: &Session, end: &str) -> Markup {
    let (record, label) = (&account.record, account.label());
    html! {
        @if account.mail.is_some() && record.notifications_enabled {
            form method="post" action="/bot/test" class="again" {
                (form_token(session))
                input type="hidden" name=(ACCOUNT) value=(record.user);
                button id={ "test-" (end) } class="quiet" aria-label={ "Send a test to " (label) } { "Send a test" }
            }
        }
        @if account.has_operator_client {
            form method="post" action=(START) class="again" {
                (form_token(session))
                input type="hidden" name=(ACCOUNT) value=(record.user);
                button id={ "again-" (end) } class="quiet" aria-label={ "Connect " (label) " again" } { "Connect again" }
            }
        }
        @if !account.is_renewed_here {
            form method="post" action=(COMMAND) class="again" {
                (form_token(session))
                input type="hidden" name=(ACCOUNT) value=(record.user);
                button id={ "own-project-" (end) } class="quiet" aria-label={ "Connect " (label) " again with your own project" } {
                    @if account.has_operator_client { "Connect again with your own project" } @else { "Connect again" }
                }
            }
        }
    }
}

/// The form that connects a further account.
pub(super) fn connect_another(view: &View, session: &Session) -> Markup {
    let has_place = view.accounts.len() < MAX_ACCOUNTS_OF_USER;
    html! {
        @if !has_place {
            p class="hint" { "A bot has at most " (MAX_ACCOUNTS_OF_USER) " Google accounts. Disconnect one to connect another." }
        } @else if view.has_operator_client {
            form method="post" action=(START) class="another" {
                (form_token(session))
                input type="hidden" name=(ANOTHER) value="1";
                button id="connect-another" { "Connect another Google account" }
            }
            details id="another-own-project" class="choice" {
                summary { "Another one with a Google Cloud project of your own…" }
                form method="post" action=(COMMAND) {
                    (form_token(session))
                    input type="hidden" name=(ANOTHER) value="1";
                    p { "One command on your own computer configures a project of yours, and sends the encrypted credentials to Postbell." }
                    button { "Show command" }
                }
            }
        } @else {
            form method="post" action=(COMMAND) class="another" {
                (form_token(session))
                input type="hidden" name=(ANOTHER) value="1";
                button id="connect-another" { "Connect another Google account" }
            }
        }
    }
}
