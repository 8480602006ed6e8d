//! Signing in with a one-time link.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
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
/// not use it up. Of a link that is not valid, it says nothing before the button is pressed.
pub(in crate::pages) async fn show(
    State(pages): State<Pages>,
    PathParam(secret): PathParam<SecretString>,
) -> Result<Markup, PageError> {
    let now = pages.now();
    let link = pages.parts().links.find(&secret, now).await?;
    let shown = link.as_ref().map(|link| (&link.principal, link.expires_at));
    Ok(plain_page(
        "Sign in to Postbell",
        html! {
            @if let Some((principal, end)) = shown {
                @if let Some(user) = &principal.user {
                    p { "This link is for " strong { (user) } ": on the page that opens, connect the Google account whose mail your bot gets." }
                }
                p class="hint" { "It ends " (relative(end, now)) "." }
            }
            p { "This link signs you in once, on this device." }
            form method="post" {
                button class="primary wide" autofocus { "Sign in" }
            }
        },
    ))
}

/// Redeems the link and starts a session.
pub(in crate::pages) async fn redeem(
    State(pages): State<Pages>,
    PathParam(secret): PathParam<SecretString>,
    Origin(origin): Origin,
    _: SameOriginForm,
) -> Result<Response, PageError> {
    let principal = pages.parts().links.redeem(&secret, pages.now()).await?;
    let principal = principal.ok_or(PageError::InvalidLink)?;
    let name = log_name(&principal);
    let started = Session::start(&pages, principal, None, origin, "by a link").await?;
    let started = started.ok_or(PageError::InvalidLink)?;
    info!(principal = name, "Signed in by a link");
    Ok(started)
}
