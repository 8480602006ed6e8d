//! *Operator*: all users, and pending, failing and undelivered notifications.

mod actions;
mod fragments;
mod listing;
mod user;
mod view;

use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use postbell_core::{Changes, Listener};
use serde::Deserialize;

use self::listing::UserQuery;
use self::view::View;
use super::extract::QueryParams;
use super::layout::Page;
use super::session::{OperatorSession, Session};
use super::sse::{Fragment, LivePage, stream};
use super::toast::ShownToast;
use super::{PageError, Pages};

pub(super) fn routes() -> Router<Pages> {
    Router::new()
        .route("/operator", get(show))
        .route("/operator/events", get(events))
        .merge(user::routes())
        .route("/operator/search", post(actions::search))
        .route(
            "/operator/dead-letters/{number}/replay",
            post(actions::replay),
        )
        .route(
            "/operator/dead-letters/{number}/drop",
            post(actions::drop_one),
        )
}

/// The query of the page. The search is encrypted: it may be an address, which access logs must not
/// contain.
#[derive(Deserialize)]
pub(super) struct OperatorQuery {
    list: Option<String>,
}

impl OperatorQuery {
    fn user_query(&self, pages: &Pages) -> UserQuery {
        let encrypted = self.list.as_deref().unwrap_or_default();
        pages
            .parts()
            .cipher
            .decrypt_link(listing::PURPOSE, encrypted)
            .unwrap_or_default()
    }
}

async fn show(
    State(pages): State<Pages>,
    OperatorSession { session }: OperatorSession,
    QueryParams(query): QueryParams<OperatorQuery>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let view = View::load(&pages, query.user_query(&pages)).await?;
    let toast = ShownToast::from_request(&pages, &headers);
    let events = match &query.list {
        Some(list) => format!("/operator/events?list={list}"),
        None => "/operator/events".to_owned(),
    };
    let page = Page {
        title: "Operator",
        events: &events,
        session: &session,
        toast,
    };
    Ok(page.response(&pages, &fragments::page(&view, &pages, &session)))
}

/// Streams the fragments that change.
async fn events(
    State(pages): State<Pages>,
    OperatorSession { session }: OperatorSession,
    QueryParams(query): QueryParams<OperatorQuery>,
) -> Result<Response, PageError> {
    let user_query = query.user_query(&pages);
    stream(pages, session, UserList(user_query))
}

/// The live page of an operator.
struct UserList(UserQuery);

#[async_trait]
impl LivePage for UserList {
    async fn fragments(
        &self,
        pages: &Pages,
        session: &Session,
    ) -> Result<Option<Vec<Fragment>>, PageError> {
        let view = View::load(pages, self.0.clone()).await?;
        Ok(Some(fragments::live(&view, pages, session)))
    }

    fn listen(&self, changes: &Changes) -> Listener {
        changes.listen_to_all()
    }

    /// Changes are frequent here, and the counts take some time.
    fn debounce(&self) -> Duration {
        Duration::from_secs(1)
    }
}
