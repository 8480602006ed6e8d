//! *My bot*: whether mail gets through, and what its owner can do about it.

mod actions;
mod advice;
mod chart;
mod connection;
pub(super) mod dead_letters;
mod deliveries;
mod fragments;
mod pending_sync;
mod test_message;
mod view;
mod watch;

use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use postbell_core::{Changes, Listener, UserId};

pub(super) use self::actions::Act;
use self::view::View;
use super::layout::Page;
use super::session::{Session, UserSession};
use super::sse::{Fragment, LivePage, stream};
use super::{PageError, Pages};

/// Where the page is.
const PAGE: &str = "/bot";

pub(super) fn routes() -> Router<Pages> {
    Router::new()
        .route(PAGE, get(show))
        .route("/bot/events", get(events))
        .route("/bot/connect", post(actions::show_command))
        .route("/bot/notifications", post(actions::set_notifications))
        .route("/bot/wake", post(actions::set_wake))
        .route("/bot/disconnect", post(actions::disconnect))
        .route("/bot/tell-machine", post(pending_sync::retry_sync))
        .route("/bot/test", post(actions::send_test))
        .route("/bot/dead-letters/drop", post(actions::drop_all))
        .route("/bot/dead-letters/{number}/replay", post(actions::replay))
        .route("/bot/dead-letters/{number}/drop", post(actions::drop_one))
}

/// Shows the page.
async fn show(
    State(pages): State<Pages>,
    UserSession { session, record }: UserSession,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let view = View::of(&pages, record).await?;
    let toast = pages.toast(&headers);
    let page = Page {
        title: "My bot",
        events: "/bot/events",
        session: &session,
        toast,
    };
    Ok(page.answer(&pages, &fragments::all(&view, &session, None)))
}

/// Keeps the page up to date.
async fn events(
    State(pages): State<Pages>,
    UserSession { session, record }: UserSession,
) -> Result<Response, PageError> {
    stream(pages, session, MyBot(record.user))
}

/// The page of this user.
struct MyBot(UserId);

#[async_trait]
impl LivePage for MyBot {
    async fn parts(
        &self,
        pages: &Pages,
        session: &Session,
    ) -> Result<Option<Vec<Fragment>>, PageError> {
        let Some(record) = pages.user_of(session).await? else {
            return Ok(None);
        };
        let view = View::of(pages, record).await?;
        Ok(Some(fragments::that_change(&view, session)))
    }

    fn listen(&self, changes: &Changes) -> Listener {
        changes.listen_to(&self.0)
    }

    /// Next to nothing: somebody waits for their mail to show.
    fn gathers(&self) -> Duration {
        Duration::from_millis(150)
    }
}
