//! Where pushes come in (contract, section 5).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::routing::post;
use postbell_google::PushBody;
use postbell_http::{BodyError, bearer_token, read_body};
use serde::Deserialize;
use tracing::warn;

use crate::answer::Answer;
use crate::watcher::Watcher;

/// The largest body: the relay takes no larger one.
const BODY_LIMIT: usize = 64 * 1024;

/// The header with the token; `?token=` will do as well.
const TOKEN_HEADER: &str = postbell_protocol::routes::GOG_TOKEN;

impl Watcher {
    /// The watcher's one route, at `path`.
    pub fn router(self: Arc<Self>, path: &str) -> Router {
        Router::new()
            .route(path, post(receive_push))
            .with_state(self)
    }
}

/// A caller who showed the token, or Google's. A handler that takes one runs for no one else.
struct VerifiedCaller;

#[derive(Deserialize)]
struct TokenInUrl {
    token: Option<String>,
}

impl FromRequestParts<Arc<Watcher>> for VerifiedCaller {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, watcher: &Arc<Watcher>) -> Result<Self, Answer> {
        let auth = &watcher.settings.push_auth;
        let header = || parts.headers.get(TOKEN_HEADER)?.to_str().ok();
        let in_url = || Query::<TokenInUrl>::try_from_uri(&parts.uri).ok()?.0.token;
        let token = header().map(str::to_owned).or_else(in_url);
        if token.is_some_and(|token| auth.is_token(&token)) {
            return Ok(Self);
        }
        if let Some(bearer) = bearer_token(&parts.headers)
            && auth.is_google(bearer.token(), watcher.clock.now()).await
        {
            return Ok(Self);
        }
        Err(Answer::Unauthorized)
    }
}

async fn receive_push(
    State(watcher): State<Arc<Watcher>>,
    _caller: VerifiedCaller,
    body: Body,
) -> Answer {
    match read_body(body, BODY_LIMIT).await {
        Ok(body) => watcher.pushed(&body).await,
        Err(BodyError::TooSlow) => Answer::Malformed("expected the whole body within 10 seconds"),
        Err(BodyError::Incomplete) => Answer::Malformed("the body is incomplete"),
        Err(BodyError::TooLarge) => Answer::TooLarge,
    }
}

impl Watcher {
    /// Acts on a notification that was fetched, and returns whether it is done with: one that is
    /// not is to come again.
    pub async fn pulled(&self, data: &[u8]) -> bool {
        match self.pushed(data).await {
            Answer::Failed(_) => false,
            Answer::Malformed(expected) => {
                warn!(expected, "Dropped a notification that cannot be read");
                true
            }
            _ => true,
        }
    }

    /// Acts on what Pub/Sub says, in an envelope or without, and says what became of it.
    async fn pushed(&self, body: &[u8]) -> Answer {
        let changed = match PushBody::read(body).notification {
            Ok(changed) => changed,
            Err(expected) => return Answer::Malformed(expected),
        };
        let account = &self.settings.account;
        if !changed.email_address.eq_ignore_ascii_case(account) {
            return Answer::NothingNew;
        }
        let looked = self.notified(changed.history_id).await;
        if let Err(error) = &looked {
            warn!(
                history.id = %changed.history_id, error = error as &dyn std::error::Error,
                "Could not bring what is new up to {}", changed.history_id
            );
        }
        looked.into()
    }
}
