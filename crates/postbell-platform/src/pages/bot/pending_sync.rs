//! What the machine has yet to be told, and the button to try it again.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::view::View;
use crate::pages::csrf_form::CsrfForm;
use crate::pages::layout::form_token;
use crate::pages::session::{Session, UserSession};
use crate::pages::toast::Toast;
use crate::pages::{PageError, Pages};

/// Says that the machine goes on as before, as long as it does.
pub(super) fn notice(view: &View, session: &Session) -> Markup {
    html! {
        @if view.record.untold.is_some() {
            form id="untold" class="setting" method="post" action="/bot/tell-machine" {
                (form_token(session))
                p class="hint" { "Your machine does not know yet what was changed here, and goes on as before. Postbell \
                    tells it as soon as it can." }
                button { "Try again now" }
            }
        }
    }
}

pub(super) async fn retry_sync(
    State(pages): State<Pages>,
    posted: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let user = &posted.by.record.user;
    let changed = pages.users().retry_sync(user).await?;
    Ok(pages.say(Toast::SyncRetried(changed.machine), "/bot#settings"))
}
