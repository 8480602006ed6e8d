//! What an operator can do.

use axum::extract::State;
use axum::response::{Redirect, Response};

use super::listing::{PURPOSE, Wanted};
use crate::pages::bot::Act;
use crate::pages::csrf_form::CsrfForm;
use crate::pages::extract::InPath;
use crate::pages::session::OperatorSession;
use crate::pages::{PageError, Pages};

/// The part of the page that these lead back to.
const LETTERS: &str = "/operator#letters";

/// Leads to the users that are searched for.
pub(super) async fn search(
    State(pages): State<Pages>,
    posted: CsrfForm<OperatorSession>,
) -> Redirect {
    let prefix = posted.field("text").unwrap_or_default();
    let wanted = Wanted::beginning_with(prefix, posted.field("by") == Some("email"));
    Redirect::to(&page_of(&pages, &wanted))
}

/// Where a page of the list is.
pub(super) fn page_of(pages: &Pages, wanted: &Wanted) -> String {
    let list = pages.parts().seal.seal_link(PURPOSE, wanted);
    format!("/operator?list={list}#users")
}

pub(super) async fn replay(
    State(pages): State<Pages>,
    InPath(number): InPath<i64>,
    _: CsrfForm<OperatorSession>,
) -> Result<Response, PageError> {
    let toast = pages.act_on_letter(None, number, Act::Replay).await?;
    Ok(pages.say(toast, LETTERS))
}

pub(super) async fn drop_one(
    State(pages): State<Pages>,
    InPath(number): InPath<i64>,
    _: CsrfForm<OperatorSession>,
) -> Result<Response, PageError> {
    let toast = pages.act_on_letter(None, number, Act::Drop).await?;
    Ok(pages.say(toast, LETTERS))
}
