//! The actions of *My bot*: each is a form that redirects back to the page.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use maud::Markup;
use postbell_core::Accepted;
use tracing::info;

use super::accounts::{ACCOUNT, ANOTHER, named};
use super::connection::Command;
use super::fragments;
use super::test_message::test_notification;
use super::view::View;
use crate::pages::csrf_form::CsrfForm;
use crate::pages::extract::Origin;
use crate::pages::layout::Page;
use crate::pages::session::UserSession;
use crate::pages::toast::Toast;
use crate::pages::{PageError, Pages};
use crate::random::random_text;
use crate::{ChangeError, Notifications};

/// How long the token in the setup command is valid.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The sections that the actions redirect to.
const SETTINGS: &str = "/bot#settings";
pub(super) const CONNECTION: &str = "/bot#connection";
const DELIVERIES: &str = "/bot#deliveries";

/// Shows the command that connects a Google account. It holds a token, so it is created on demand.
pub(super) async fn show_command(
    State(pages): State<Pages>,
    Origin(origin): Origin,
    form: CsrfForm<UserSession>,
) -> Result<Markup, PageError> {
    let account = form.field(ACCOUNT).map(str::to_owned);
    let is_another = form.field(ANOTHER).is_some();
    let UserSession { session, record } = form.session;
    let again = named(&pages, &record, account.as_deref()).await?;
    let again = again.filter(|again| account.is_some() && again.google.is_some());
    let by = session.actor(origin, pages.now());
    let operator = &pages.parts().operator;
    let token = operator.issue_token(&record, "page", TOKEN_LIFETIME, &by);
    let token = token.await?.token;
    let relay = pages.parts().relay.as_ref();
    let url = pages.parts().links.url.as_str();
    let command = Command {
        platform: url.trim_end_matches('/').to_owned(),
        relay: relay.map(|relay| relay.url.clone()),
        user: record.user.clone(),
        token,
        is_further: is_another || again.as_ref().is_some_and(|again| again.owner.is_some()),
        again: again.as_ref().map(super::view::label),
    };
    let view = View::load(&pages, record).await?;
    let page = Page {
        title: "Connect Google",
        events: "/bot/events",
        session: &session,
        toast: None,
    };
    Ok(page.document(&fragments::page(&view, &session, Some(&command))))
}

pub(super) async fn set_notifications(
    State(pages): State<Pages>,
    Origin(origin): Origin,
    form: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let wanted = if form.is_on() {
        Notifications::On
    } else {
        Notifications::Off
    };
    let account = form.field(ACCOUNT).map(str::to_owned);
    let UserSession { session, record } = form.session;
    let by = session.actor(origin, pages.now());
    let Some(account) = named(&pages, &record, account.as_deref()).await? else {
        return Ok(Toast::AccountMissing.redirect(&pages, CONNECTION));
    };
    let section = match account.owner {
        Some(_) => CONNECTION,
        None => SETTINGS,
    };
    let set = pages.users().set_notifications(&account.user, wanted, &by);
    let toast = match set.await {
        Ok(changed) => match wanted {
            Notifications::On => Toast::NotificationsOn(changed.machine),
            Notifications::Off => Toast::NotificationsOff(changed.machine),
        },
        // The page was rendered before the account was disconnected.
        Err(ChangeError::NotConnected) => Toast::NotConnected,
        Err(ChangeError::UnknownUser) if account.owner.is_some() => Toast::AccountMissing,
        Err(error) => return Err(error.into()),
    };
    Ok(toast.redirect(&pages, section))
}

pub(super) async fn set_wake(
    State(pages): State<Pages>,
    Origin(origin): Origin,
    form: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let allowed = form.is_on();
    let UserSession { session, record } = form.session;
    let by = session.actor(origin, pages.now());
    let set = pages.users().set_wake_on_mail(&record.user, allowed, &by);
    set.await?;
    let toast = if allowed {
        Toast::WakeOn
    } else {
        Toast::WakeOff
    };
    Ok(toast.redirect(&pages, SETTINGS))
}

pub(super) async fn disconnect(
    State(pages): State<Pages>,
    Origin(origin): Origin,
    form: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let account = form.field(ACCOUNT).map(str::to_owned);
    let UserSession { session, record } = form.session;
    let by = session.actor(origin, pages.now());
    let Some(account) = named(&pages, &record, account.as_deref()).await? else {
        return Ok(Toast::AccountMissing.redirect(&pages, CONNECTION));
    };
    let toast = match pages.users().disconnect(&account.user, &by).await {
        Ok(changed) => Toast::Disconnected(changed.machine, changed.permission),
        Err(ChangeError::UnknownUser) if account.owner.is_some() => Toast::AccountMissing,
        Err(error) => return Err(error.into()),
    };
    Ok(toast.redirect(&pages, CONNECTION))
}

/// Queues a test notification.
pub(super) async fn send_test(
    State(pages): State<Pages>,
    form: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let Some(relay) = &pages.parts().relay else {
        return Ok(Toast::NoRelay.redirect(&pages, DELIVERIES));
    };
    let record = &form.session.record;
    let account = form.field(ACCOUNT);
    let records = match named(&pages, record, account).await? {
        None => return Ok(Toast::AccountMissing.redirect(&pages, CONNECTION)),
        Some(named) if account.is_some() => vec![named],
        Some(own) => {
            let accounts = pages.users().fleet.accounts_of(record).await?;
            std::iter::once(own).chain(accounts).collect()
        }
    };
    let mut records = records.into_iter();
    let wanted = records.find(|record| record.as_instance().wants_notifications());
    let Some(record) = &wanted else {
        return Ok(Toast::NotificationsUnwanted.redirect(&pages, DELIVERIES));
    };
    // A test would only restart the retry schedule of the pending notification.
    if relay.log.pending(&record.user).await?.is_some() {
        return Ok(Toast::MailPending.redirect(&pages, DELIVERIES));
    }
    let random = random_text(&pages.parts().links.random);
    let test = test_notification(record, &random).map_err(|_| PageError::Internal)?;
    let accepted = relay.queue.accept(test, pages.now()).await?;
    relay.arrivals.notify_one();
    let user = record.user.masked();
    info!(user.id = %user, ?accepted, "Queued a test notification of {user}");
    let toast = match accepted {
        Accepted::Queued => Toast::TestSent,
        Accepted::Merged | Accepted::Duplicate | Accepted::Covered => Toast::MailPending,
    };
    Ok(toast.redirect(&pages, DELIVERIES))
}
