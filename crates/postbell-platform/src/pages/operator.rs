//! *Operator*: everybody, what waits, what fails and what was given up.

mod actions;
mod fragments;
mod listing;
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

use self::listing::Wanted;
use self::view::View;
use super::extract::InQuery;
use super::layout::Page;
use super::session::{OperatorSession, Session};
use super::sse::{Fragment, LivePage, stream};
use super::{PageError, Pages};

pub(super) fn routes() -> Router<Pages> {
    Router::new()
        .route("/operator", get(show))
        .route("/operator/events", get(events))
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

/// Which page of the list, sealed: what somebody searches for may be an address, and is in no log.
#[derive(Deserialize)]
pub(super) struct Which {
    list: Option<String>,
}

impl Which {
    fn wanted(&self, pages: &Pages) -> Wanted {
        let sealed = self.list.as_deref().unwrap_or_default();
        pages
            .parts()
            .seal
            .open_link(listing::PURPOSE, sealed)
            .unwrap_or_default()
    }
}

/// Shows the page.
async fn show(
    State(pages): State<Pages>,
    OperatorSession { session }: OperatorSession,
    InQuery(which): InQuery<Which>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let view = View::of(&pages, which.wanted(&pages)).await?;
    let toast = pages.toast(&headers);
    let events = match &which.list {
        Some(list) => format!("/operator/events?list={list}"),
        None => "/operator/events".to_owned(),
    };
    let page = Page {
        title: "Operator",
        events: &events,
        session: &session,
        toast,
    };
    Ok(page.answer(&pages, &fragments::all(&view, &pages, &session)))
}

/// Keeps the page up to date.
async fn events(
    State(pages): State<Pages>,
    OperatorSession { session }: OperatorSession,
    InQuery(which): InQuery<Which>,
) -> Result<Response, PageError> {
    let wanted = which.wanted(&pages);
    stream(pages, session, Everybody(wanted))
}

/// The page that lists these.
struct Everybody(Wanted);

#[async_trait]
impl LivePage for Everybody {
    async fn parts(
        &self,
        pages: &Pages,
        session: &Session,
    ) -> Result<Option<Vec<Fragment>>, PageError> {
        let view = View::of(pages, self.0.clone()).await?;
        Ok(Some(fragments::that_change(&view, pages, session)))
    }

    fn listen(&self, changes: &Changes) -> Listener {
        changes.listen_to_all()
    }

    /// Something changes all the time, and to count what waits is not for nothing.
    fn gathers(&self) -> Duration {
        Duration::from_secs(1)
    }
}
