//! Signing in with a one-time link.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use secrecy::SecretString;
use tracing::info;

use super::log_name;
use crate::pages::csrf_form::SameOriginForm;
use crate::pages::extract::PathParam;
use crate::pages::layout::plain_page;
use crate::pages::session::Session;
use crate::pages::{PageError, Pages};

/// Shows a button only: programs that preview links also open them. Whether the link is valid is
/// visible only after the button is pressed.
pub(in crate::pages) async fn show() -> Markup {
    plain_page(
        "Sign in to Postbell",
        html! {
            p { "This link signs you in once, on this device." }
            form method="post" {
                button class="primary wide" autofocus { "Sign in" }
            }
        },
    )
}

/// Redeems the link and starts a session.
pub(in crate::pages) async fn redeem(
    State(pages): State<Pages>,
    PathParam(secret): PathParam<SecretString>,
    _: SameOriginForm,
) -> Result<Response, PageError> {
    let principal = pages.parts().links.redeem(&secret, pages.now()).await?;
    let principal = principal.ok_or(PageError::InvalidLink)?;
    let name = log_name(&principal);
    let started = Session::start(&pages, principal, None).await?;
    let started = started.ok_or(PageError::InvalidLink)?;
    info!(principal = name, "Signed in by a link");
    Ok(started)
}
