//! The actions on a user.

use axum::extract::State;
use axum::response::Response;
use maud::Markup;
use postbell_core::UserId;
use postbell_protocol::api::operator::{AddUser, ChangeUser, Invite, MachineFields, SignOut};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{ShownUser, View, fragments, user_url};
use crate::Perform;
use crate::pages::csrf_form::CsrfForm;
use crate::pages::dead_letters::Action;
use crate::pages::extract::{Origin, PathParam};
use crate::pages::layout::Page;
use crate::pages::session::ChangingOperator;
use crate::pages::toast::Toast;
use crate::pages::{PageError, Pages};

/// The number in a path.
#[derive(Deserialize)]
pub(super) struct InPath {
    number: i64,
}

/// Shows an invitation. It holds a link, so it is created on demand.
pub(super) async fn invite(
    State(pages): State<Pages>,
    ShownUser(record): ShownUser,
    Origin(origin): Origin,
    form: CsrfForm<ChangingOperator>,
) -> Result<Markup, PageError> {
    let session = form.session.session;
    let by = session.actor(origin, pages.now());
    // The user exists, so the other fields are not used.
    let user = AddUser {
        user_id: record.user.clone(),
        sandbox_id: None,
        machine: MachineFields::default(),
        wake_on_mail: false,
    };
    let request = Invite {
        user,
        valid_for_seconds: None,
    };
    let invitation = pages.parts().operator.perform(request, &by).await?;
    let url = user_url(&pages, &record.user);
    let view = View::load(&pages, record).await?;
    let page = Page {
        title: "User",
        events: &format!("{url}/events"),
        session: &session,
        toast: None,
    };
    let message = Some(invitation.message.expose_secret());
    Ok(page.document(&fragments::page(&view, &url, &session, message)))
}

/// Ends the user's sessions, and revokes their links and tokens.
pub(super) async fn sign_out(
    State(pages): State<Pages>,
    ShownUser(record): ShownUser,
    Origin(origin): Origin,
    form: CsrfForm<ChangingOperator>,
) -> Result<Response, PageError> {
    let by = form.session.session.actor(origin, pages.now());
    let request = SignOut {
        user_id: Some(record.user.clone()),
        operators: false,
    };
    pages.parts().operator.perform(request, &by).await?;
    let page = format!("{}#access", user_url(&pages, &record.user));
    Ok(Toast::UserSignedOut.redirect(&pages, &page))
}

/// Ends the token of the user's machine.
pub(super) async fn new_sandbox_id(
    State(pages): State<Pages>,
    ShownUser(record): ShownUser,
    Origin(origin): Origin,
    form: CsrfForm<ChangingOperator>,
) -> Result<Response, PageError> {
    let by = form.session.session.actor(origin, pages.now());
    let request = ChangeUser {
        user_id: record.user.clone(),
        machine: MachineFields::default(),
        sandbox_id: None,
        new_sandbox_id: true,
        wake_on_mail: None,
        notifications: None,
    };
    pages.parts().operator.perform(request, &by).await?;
    let page = format!("{}#machine", user_url(&pages, &record.user));
    Ok(Toast::SandboxIdChanged.redirect(&pages, &page))
}

pub(super) async fn replay(
    State(pages): State<Pages>,
    ShownUser(record): ShownUser,
    PathParam(InPath { number }): PathParam<InPath>,
    Origin(origin): Origin,
    form: CsrfForm<ChangingOperator>,
) -> Result<Response, PageError> {
    apply(Action::Replay, &pages, &record.user, number, origin, &form).await
}

pub(super) async fn drop_one(
    State(pages): State<Pages>,
    ShownUser(record): ShownUser,
    PathParam(InPath { number }): PathParam<InPath>,
    Origin(origin): Origin,
    form: CsrfForm<ChangingOperator>,
) -> Result<Response, PageError> {
    apply(Action::Drop, &pages, &record.user, number, origin, &form).await
}

async fn apply(
    action: Action,
    pages: &Pages,
    user: &UserId,
    number: i64,
    origin: String,
    form: &CsrfForm<ChangingOperator>,
) -> Result<Response, PageError> {
    let by = form.session.session.actor(origin, pages.now());
    let accounts = pages
        .users()
        .store
        .accounts_of(std::slice::from_ref(user))
        .await?;
    let further = accounts.into_iter().map(|account| account.user);
    let users: Vec<_> = std::iter::once(user.clone()).chain(further).collect();
    let toast = action.apply(pages, Some(&users), number, &by).await?;
    let page = format!("{}#dead-letters", user_url(pages, user));
    Ok(toast.redirect(pages, &page))
}
