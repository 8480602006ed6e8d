//! A link that signs in once.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use secrecy::SecretString;
use tracing::info;

use super::in_log;
use crate::pages::csrf_form::SameOriginForm;
use crate::pages::extract::InPath;
use crate::pages::layout::plain_page;
use crate::pages::{PageError, Pages};

/// Shows a button, and does nothing: programs that preview links open them, too. Whether the link is
/// good is not said before it is used.
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

/// Uses the link up.
pub(in crate::pages) async fn open(
    State(pages): State<Pages>,
    InPath(secret): InPath<SecretString>,
    _: SameOriginForm,
) -> Result<Response, PageError> {
    let taken = pages.parts().links.redeem(&secret, pages.now()).await?;
    let visitor = taken.ok_or(PageError::NoLink)?;
    let who = in_log(&visitor);
    let begun = pages.begin(visitor, None).await?.ok_or(PageError::NoLink)?;
    info!(visitor = who, "Somebody has signed in by a link");
    Ok(begun)
}
