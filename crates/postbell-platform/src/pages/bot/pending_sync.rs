//! The notice of a pending sync, and the button that retries it.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::view::View;
use crate::pages::csrf_form::CsrfForm;
use crate::pages::extract::Origin;
use crate::pages::layout::form_token;
use crate::pages::session::{Session, UserSession};
use crate::pages::toast::Toast;
use crate::pages::{PageError, Pages};

/// The notice, as long as the machine has an old configuration.
pub(super) fn notice(view: &View, session: &Session) -> Markup {
    html! {
        @if view.record.pending_sync.is_some() {
            form id="pending-sync" class="setting" method="post" action="/bot/tell-machine" {
                (form_token(session))
                p class="hint" { "Your machine does not have the latest changes yet and keeps its old configuration. \
                    Postbell retries until it has them." }
                button { "Retry now" }
            }
        }
    }
}

pub(super) async fn retry_sync(
    State(pages): State<Pages>,
    Origin(origin): Origin,
    form: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let UserSession { session, record } = form.session;
    let by = session.actor(origin, pages.now());
    let changed = pages.users().retry_sync(&record.user, &by).await?;
    Ok(Toast::SyncRetried(changed.machine).redirect(&pages, "/bot#settings"))
}
