//! Signing in and out.

mod choice;
mod google;
mod link;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::html;
use postbell_core::Principal;

use super::cookies::CookieName;
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
            get(link::show).post(link::redeem),
        )
        .route("/sign-in/google", post(google::start))
        .route(google::CALLBACK, get(google::callback))
        .route("/sign-in/issuer", get(google::start_at_issuer))
        .route(google::ISSUER_CALLBACK, get(google::issuer_callback))
        .route(choice::PATH, post(choice::choose))
}

/// Names a principal in the log.
fn log_name(principal: &Principal) -> String {
    match &principal.user {
        Some(user) => user.masked().to_string(),
        None => "an operator".to_owned(),
    }
}

/// Shows how to sign in. Redirects a session to its first page.
async fn show(State(pages): State<Pages>, session: Result<Session, PageError>) -> Response {
    if let Ok(session) = session
        && let Ok(Some(first)) = session.first_page(&pages).await
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
            }
            @if let Some(issuer) = &pages.parts().issuer {
                p { a class="button wide" href="/sign-in/issuer" { "Sign in with " (issuer.name) } }
            }
            @if pages.parts().google.is_some() || pages.parts().issuer.is_some() {
                p class="hint" { "Or open the one-time link that your operator sends you." }
            } @else {
                p { "Open the one-time link that your operator sends you." }
                p class="hint" { "Operators create a link on the server:" }
                pre class="command" tabindex="0" { code { "postbell users link USER" } }
            }
        },
    )
    .into_response()
}

/// Ends all sessions of the principal.
pub(super) async fn sign_out(
    State(pages): State<Pages>,
    form: CsrfForm,
) -> Result<Response, PageError> {
    let principal = &form.session.principal;
    let sessions = &pages.parts().links.sessions;
    sessions.end_sessions(&principal.subject()).await?;
    let cookie = pages.cookies().remove(CookieName::Session);
    Ok((cookie, Redirect::to("/sign-in")).into_response())
}
