//! The dead letters of a user, and the actions on them.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use postbell_core::DeadLetter;
use tracing::info;

use super::accounts::records_of;
use super::view::{Mail, View};
use crate::pages::csrf_form::CsrfForm;
use crate::pages::dead_letters::{Action, list};
use crate::pages::extract::{Origin, PathParam};
use crate::pages::layout::form_token;
use crate::pages::session::{Session, UserSession};
use crate::pages::toast::Toast;
use crate::pages::{PageError, Pages};

/// The section that the actions redirect to.
const SECTION: &str = "/bot#dead-letters";

/// The latest dead letters; empty if there are none.
pub(super) fn dead_letters(view: &View, mail: &Mail, session: &Session) -> Markup {
    let Some(latest) = mail.dead_letters.first() else {
        return html! {};
    };
    let of_account = |dead_letter: &DeadLetter| {
        let mut accounts = view.accounts.iter();
        let account = accounts.find(|account| account.record.user == dead_letter.user);
        html! {
            @if let Some(account) = account { span class="address" { (account.label()) } " · " }
        }
    };
    html! {
        h2 { "Dead letters" }
        (list(Some("/bot"), &mail.dead_letters, of_account, session, view.now))
        @if mail.dead_letter_count > mail.dead_letters.len() as u64 {
            p class="hint" { "The latest of " (mail.dead_letter_count) ". Each delivery includes the mail before it." }
        }
        @if mail.dead_letter_count > 1 { (delete_all(mail.dead_letter_count, latest, session)) }
    }
}

fn delete_all(number: u64, latest: &DeadLetter, session: &Session) -> Markup {
    html! {
        details id="delete-all" class="confirm" {
            summary { "Delete all…" }
            form method="post" action="/bot/dead-letters/drop" {
                (form_token(session))
                input type="hidden" name="last" value=(latest.id);
                p { "These " (number) " notifications can then no longer be delivered." }
                button class="danger" { "Delete all of them" }
            }
        }
    }
}

pub(super) async fn replay(
    State(pages): State<Pages>,
    PathParam(number): PathParam<i64>,
    Origin(origin): Origin,
    form: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let UserSession { session, record } = &form.session;
    let by = session.actor(origin, pages.now());
    let users = records_of(&pages, record).await?;
    let toast = Action::Replay
        .apply(&pages, Some(&users), number, &by)
        .await?;
    Ok(toast.redirect(&pages, SECTION))
}

pub(super) async fn drop_one(
    State(pages): State<Pages>,
    PathParam(number): PathParam<i64>,
    Origin(origin): Origin,
    form: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let UserSession { session, record } = &form.session;
    let by = session.actor(origin, pages.now());
    let users = records_of(&pages, record).await?;
    let toast = Action::Drop
        .apply(&pages, Some(&users), number, &by)
        .await?;
    Ok(toast.redirect(&pages, SECTION))
}

/// Deletes the dead letters up to the latest one that the page has shown.
pub(super) async fn drop_all(
    State(pages): State<Pages>,
    form: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let Some(relay) = &pages.parts().relay else {
        return Ok(Toast::NoRelay.redirect(&pages, SECTION));
    };
    let last = form.field("last").and_then(|last| last.parse().ok());
    let last = last.ok_or(PageError::InvalidForm)?;
    let record = &form.session.record;
    let (user, mut dropped) = (&record.user, 0);
    for record in records_of(&pages, record).await? {
        dropped += relay.log.drop_dead_letters(&record, last).await?;
    }
    info!(user.id = %user.masked(), dropped, "Deleted the dead letters of {}", user.masked());
    let toast = if dropped > 0 {
        Toast::DroppedAll
    } else {
        Toast::Missing
    };
    Ok(toast.redirect(&pages, SECTION))
}
