//! The actions of *Operator*.

use axum::extract::State;
use axum::response::{Redirect, Response};

use super::listing::{PURPOSE, UserQuery};
use crate::pages::csrf_form::CsrfForm;
use crate::pages::dead_letters::Action;
use crate::pages::extract::{Origin, PathParam};
use crate::pages::session::{ChangingOperator, OperatorSession};
use crate::pages::{PageError, Pages};

/// The section that the actions redirect to.
const SECTION: &str = "/operator#dead-letters";

/// Redirects to the results of a search.
pub(super) async fn search(
    State(pages): State<Pages>,
    form: CsrfForm<OperatorSession>,
) -> Result<Redirect, PageError> {
    let prefix = form.field("text").unwrap_or_default();
    let mut query = UserQuery::with_prefix(prefix, form.field("by") == Some("email"));
    // An address that is pasted is often not a user's id.
    if !query.is_by_email() && query.prefix().contains('@') {
        let listing = query.listing(pages.now());
        if pages.users().store.list(&listing, 1).await?.is_empty() {
            query = UserQuery::with_prefix(prefix, true);
        }
    }
    Ok(Redirect::to(&users_url(&pages, &query)))
}

/// The URL of a page of users.
pub(super) fn users_url(pages: &Pages, query: &UserQuery) -> String {
    let list = pages.parts().cipher.encrypt_link(PURPOSE, query);
    format!("/operator?list={list}#users")
}

pub(super) async fn replay(
    State(pages): State<Pages>,
    PathParam(number): PathParam<i64>,
    Origin(origin): Origin,
    form: CsrfForm<ChangingOperator>,
) -> Result<Response, PageError> {
    let by = form.session.session.actor(origin, pages.now());
    let toast = Action::Replay.apply(&pages, None, number, &by).await?;
    Ok(toast.redirect(&pages, SECTION))
}

pub(super) async fn drop_one(
    State(pages): State<Pages>,
    PathParam(number): PathParam<i64>,
    Origin(origin): Origin,
    form: CsrfForm<ChangingOperator>,
) -> Result<Response, PageError> {
    let by = form.session.session.actor(origin, pages.now());
    let toast = Action::Drop.apply(&pages, None, number, &by).await?;
    Ok(toast.redirect(&pages, SECTION))
}
