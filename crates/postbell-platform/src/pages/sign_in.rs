//! Signing in and out.

mod choice;
mod google;
mod link;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};
use postbell_core::Principal;
use url::{Host, Url};

use super::cookies::CookieName;
use super::csrf_form::CsrfForm;
use super::layout::{form_token, plain_page};
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
                // On the first day, the operator is the visitor.
                @if is_local(&pages.parts().links.url) {
                    p class="hint" { "Operators create a link on the server:" }
                    pre class="command" tabindex="0" { code { "postbell users link USER" } }
                }
            }
        },
    )
    .into_response()
}

/// Whether only browsers on this machine open the pages.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Asks before a sign-out, after which some cannot sign in again by themselves.
pub(super) async fn ask_to_sign_out(State(pages): State<Pages>, session: Session) -> Markup {
    let parts = pages.parts();
    plain_page(
        "Sign out?",
        html! {
            p {
                "This signs you out on every device."
                @if parts.google.is_none() && parts.issuer.is_none() {
                    " You can sign in again only with a new link"
                    @if session.is_operator() { ", which a command on the server prints." } @else { " from your operator." }
                }
            }
            form method="post" action="/sign-out" {
                (form_token(&session))
                button class="danger wide" { "Sign out on every device" }
            }
            p { a class="button wide" href="/" { "Stay signed in" } }
        },
    )
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
