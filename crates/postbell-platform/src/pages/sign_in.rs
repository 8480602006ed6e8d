//! Signing in, and out.

mod google;
mod link;

use axum::Router;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::html;
use postbell_core::Principal;

use super::cookies::Cookie;
use super::csrf_form::CsrfForm;
use super::layout::plain_page;
use super::session::Session;
use super::{PageError, Pages};
use crate::links::LINK_PATH;

pub(super) fn routes() -> Router<Pages> {
    Router::new()
        .route("/sign-in", get(show))
        .route(
            &format!("{LINK_PATH}/{{secret}}"),
            get(link::show).post(link::open),
        )
        .route("/sign-in/google", post(google::begin))
        .route(google::BACK, get(google::come_back))
}

/// Who has signed in, for the log.
fn in_log(visitor: &Principal) -> String {
    match &visitor.user {
        Some(user) => user.masked().to_string(),
        None => "an operator".to_owned(),
    }
}

/// Says how to sign in; whoever is signed in goes on.
async fn show(State(pages): State<Pages>, session: Result<Session, PageError>) -> Response {
    if let Ok(session) = session
        && let Ok(Some(first)) = pages.first_page(&session).await
    {
        return Redirect::to(first).into_response();
    }
    plain_page(
        "Sign in",
        html! {
            @if pages.parts().google.is_some() {
                p { "Use the Google account that your bot watches." }
                form method="post" action="/sign-in/google" {
                    button class="primary wide" { "Sign in with Google" }
                }
                p class="hint" { "Or open the one-time link that your operator sends you." }
            } @else {
                p { "Open the one-time link that your operator sends you." }
                p class="hint" { "Operators make one on the server:" }
                pre class="command" tabindex="0" { code { "postbell users link USER" } }
            }
        },
    )
    .into_response()
}

/// Ends the session, and all others of its subject.
pub(super) async fn sign_out(
    State(pages): State<Pages>,
    posted: CsrfForm,
) -> Result<Response, PageError> {
    let subject = posted.by.visitor.subject();
    pages.parts().links.sign_ins.end_sessions(&subject).await?;
    // Their live pages look anew, and end.
    if let Some(user) = &posted.by.visitor.user {
        pages.parts().changes.tell(user);
    }
    let cookie = pages.forget(Cookie::Session);
    Ok(([(SET_COOKIE, cookie)], Redirect::to("/sign-in")).into_response())
}
