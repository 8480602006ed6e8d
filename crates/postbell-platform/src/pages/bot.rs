//! *My bot*: whether notifications reach the bot, and what its owner can do.

mod accounts;
mod actions;
mod advice;
pub(super) mod alerts;
mod chart;
mod connection;
mod dead_letters;
mod deliveries;
mod fragments;
mod google;
mod pending_sync;
mod restart;
pub(super) mod test_message;
mod view;
mod watch;

use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use parking_lot::Mutex;
use postbell_core::{Changes, Listener, UserId};

pub(super) use self::deliveries::outcome;
use self::view::View;
use super::layout::Page;
use super::session::{Session, UserSession};
use super::sse::{Fragment, LivePage, stream};
use super::toast::ShownToast;
use super::{PageError, Pages};

const PAGE: &str = "/bot";

pub(super) fn routes() -> Router<Pages> {
    Router::new()
        .route(PAGE, get(show))
        .route("/bot/events", get(events))
        .route("/bot/connect", post(actions::show_command))
        .route(google::START, post(google::start))
        .route(google::CALLBACK, get(google::callback))
        .route("/bot/notifications", post(actions::set_notifications))
        .route("/bot/wake", post(actions::set_wake))
        .route("/bot/disconnect", post(actions::disconnect))
        .route("/bot/tell-machine", post(pending_sync::retry_sync))
        .route("/bot/test", post(actions::send_test))
        .route(alerts::ALERTS, get(alerts::show).post(alerts::add))
        .route(
            alerts::mail::MAIL,
            get(alerts::show).post(alerts::mail::add),
        )
        .route("/bot/alerts/{id}/remove", post(alerts::remove))
        .route("/bot/alerts/{id}/test", post(alerts::send_test))
        .route("/bot/dead-letters/drop", post(dead_letters::drop_all))
        .route(
            "/bot/dead-letters/{number}/replay",
            post(dead_letters::replay),
        )
        .route(
            "/bot/dead-letters/{number}/drop",
            post(dead_letters::drop_one),
        )
}

async fn show(
    State(pages): State<Pages>,
    UserSession { session, record }: UserSession,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let view = View::load(&pages, record).await?;
    let toast = ShownToast::from_request(&pages, &headers);
    let page = Page {
        title: "My bot",
        events: "/bot/events",
        session: &session,
        toast,
    };
    Ok(page.response(&pages, &fragments::page(&view, &session, None)))
}

/// Streams the fragments that change.
async fn events(
    State(pages): State<Pages>,
    UserSession { session, record }: UserSession,
) -> Result<Response, PageError> {
    let records = accounts::records_of(&pages, &record).await?;
    stream(pages, session, MyBot(Mutex::new(records)))
}

/// The live page of a bot, with the ids of its records.
struct MyBot(Mutex<Vec<UserId>>);

#[async_trait]
impl LivePage for MyBot {
    async fn fragments(
        &self,
        pages: &Pages,
        session: &Session,
    ) -> Result<Option<Vec<Fragment>>, PageError> {
        let Some(record) = session.user(pages).await? else {
            return Ok(None);
        };
        *self.0.lock() = accounts::records_of(pages, &record).await?;
        let view = View::load(pages, record).await?;
        Ok(Some(fragments::live(&view, session)))
    }

    fn listen(&self, changes: &Changes) -> Listener {
        changes.listen_to_each(&self.0.lock())
    }

    fn audience(&self) -> Vec<UserId> {
        self.0.lock().clone()
    }

    fn debounce(&self) -> Duration {
        Duration::from_millis(150)
    }
}
