//! What an operator can do.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use postbell_core::DeadLetter;

use super::listing::{PURPOSE, Wanted};
use crate::pages::posted::Posted;
use crate::pages::session::AsOperator;
use crate::pages::toast::Toast;
use crate::pages::{PageRefusal, Pages, RelayBeside};

/// The part of the page that these lead back to.
const LETTERS: &str = "/operator#letters";

/// Leads to the users that are searched for.
pub(super) async fn search(State(pages): State<Pages>, _: AsOperator, posted: Posted) -> Redirect {
    let prefix = posted.field("text").unwrap_or_default();
    let wanted = Wanted::beginning_with(prefix, posted.field("by") == Some("email"));
    Redirect::to(&page_of(&pages, &wanted))
}

/// Where a page of the list is.
pub(super) fn page_of(pages: &Pages, wanted: &Wanted) -> String {
    let list = pages.parts().seal.seal(PURPOSE, wanted);
    format!("/operator?list={list}#users")
}

pub(super) async fn replay(
    State(pages): State<Pages>,
    _: AsOperator,
    Path(number): Path<i64>,
    _: Posted,
) -> Result<Response, PageRefusal> {
    let toast = match letter(&pages, number).await? {
        Some((relay, letter)) => pages.replay(relay, &letter).await?,
        None => Toast::Missing,
    };
    Ok(pages.say(toast, LETTERS).into_response())
}

pub(super) async fn drop_one(
    State(pages): State<Pages>,
    _: AsOperator,
    Path(number): Path<i64>,
    _: Posted,
) -> Result<Response, PageRefusal> {
    let toast = match letter(&pages, number).await? {
        Some((relay, letter)) => pages.drop_letter(relay, &letter).await?,
        None => Toast::Missing,
    };
    Ok(pages.say(toast, LETTERS).into_response())
}

async fn letter(
    pages: &Pages,
    number: i64,
) -> Result<Option<(&RelayBeside, DeadLetter)>, PageRefusal> {
    let Some(relay) = &pages.parts().relay else {
        return Ok(None);
    };
    let before = Some(number.saturating_add(1));
    let letters = relay.inbox.dead_letters(None, before, 1).await?;
    let letter = letters.into_iter().find(|letter| letter.id == number);
    Ok(letter.map(|letter| (relay, letter)))
}
