//! Signing in with a one-time link.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use postbell_core::{SignInLink, Timestamp};
use secrecy::SecretString;
use tracing::info;

use super::log_name;
use crate::pages::csrf_form::SameOriginForm;
use crate::pages::extract::{Origin, PathParam};
use crate::pages::format::relative;
use crate::pages::layout::plain_page;
use crate::pages::session::Session;
use crate::pages::{PageError, Pages};

/// Shows whom the link signs in, and a button: programs that preview links also open them, so opening one does
/// not use it up. A link that was used leads a person who is signed in to their page: it may be all that they have kept.
pub(in crate::pages) async fn show(
    State(pages): State<Pages>,
    PathParam(secret): PathParam<SecretString>,
    session: Result<Session, PageError>,
) -> Result<Response, PageError> {
    let now = pages.now();
    let link = pages.parts().links.find(&secret, now).await?;
    let page = match (link, session) {
        (Some(link), _) => valid(&link, now),
        (None, Ok(session)) => used(&session),
        (None, Err(PageError::SignedOut)) => return Err(PageError::InvalidLink),
        (None, Err(error)) => return Err(error),
    };
    Ok(page.into_response())
}

fn valid(link: &SignInLink, now: Timestamp) -> Markup {
    plain_page(
        "Sign in to Postbell",
        html! {
            @if let Some(user) = &link.principal.user {
                p { "This link is for " strong { (user) } ": on the page that opens, connect the Google account whose mail your bot gets." }
            }
            p class="hint" { "It ends " (relative(link.expires_at, now)) "." }
            p { "This link signs you in once, on this device. Bookmark the page that opens." }
            form method="post" {
                button class="primary wide" autofocus { "Sign in" }
            }
        },
    )
}

fn used(session: &Session) -> Markup {
    plain_page(
        "This link is no longer valid",
        html! {
            p { "It was used, or has ended. You are signed in as " strong { (session.name()) } "." }
            p { a class="button wide" href="/" { "Open your page" } }
        },
    )
}

/// Redeems the link and starts a session.
pub(in crate::pages) async fn redeem(
    State(pages): State<Pages>,
    PathParam(secret): PathParam<SecretString>,
    Origin(origin): Origin,
    _: SameOriginForm,
) -> Result<Response, PageError> {
    let (links, now) = (&pages.parts().links, pages.now());
    // A link that the limit refuses is not used up.
    let link = links
        .find(&secret, now)
        .await?
        .ok_or(PageError::InvalidLink)?;
    pages.check_changes(&link.principal)?;
    let principal = links.redeem(&secret, now).await?;
    let principal = principal.ok_or(PageError::InvalidLink)?;
    // Only the first of several who redeem it at once counts; it has passed the check.
    let _ = pages.count_change(&principal);
    let name = log_name(&principal);
    let started = Session::start(&pages, principal, None, origin, "by a link").await?;
    let started = started.ok_or(PageError::InvalidLink)?;
    info!(principal = name, "Signed in by a link");
    Ok(started)
}
