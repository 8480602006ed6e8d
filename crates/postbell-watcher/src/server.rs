//! Where pushes come in (contract, section 5).

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::routing::post;
use postbell_google::PushBody;
use secrecy::ExposeSecret;
use serde::Deserialize;
use tracing::warn;

use crate::answer::Answer;
use crate::watcher::Watcher;

/// The largest body: the relay takes no larger one.
const BODY_LIMIT: usize = 64 * 1024;

/// The header with the token; `?token=` will do as well.
const TOKEN_HEADER: &str = "x-gog-token";

impl Watcher {
    /// The watcher's one route, at `path`.
    pub fn router(self: Arc<Self>, path: &str) -> Router {
        Router::new()
            .route(path, post(receive_push))
            .with_state(self)
    }
}

/// A caller who showed the token. A handler that takes one runs for no one else.
struct VerifiedCaller;

#[derive(Deserialize)]
struct TokenInUrl {
    token: Option<String>,
}

impl FromRequestParts<Arc<Watcher>> for VerifiedCaller {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, watcher: &Arc<Watcher>) -> Result<Self, Answer> {
        let in_header = parts
            .headers
            .get(TOKEN_HEADER)
            .and_then(|value| value.to_str().ok());
        let in_url = || Query::<TokenInUrl>::try_from_uri(&parts.uri).ok()?.0.token;
        let shown = in_header
            .map(str::to_owned)
            .or_else(in_url)
            .ok_or(Answer::Unauthorized)?;
        if is_same(&shown, watcher.settings.token.expose_secret()) {
            Ok(Self)
        } else {
            Err(Answer::Unauthorized)
        }
    }
}

/// Compares digests, so that neither content nor length shows in the time it takes.
fn is_same(shown: &str, expected: &str) -> bool {
    let [shown, expected] = [shown, expected].map(|text| digest(&SHA256, text.as_bytes()));
    verify_slices_are_equal(shown.as_ref(), expected.as_ref()).is_ok()
}

async fn receive_push(
    State(watcher): State<Arc<Watcher>>,
    _caller: VerifiedCaller,
    mut request: Request,
) -> Answer {
    DefaultBodyLimit::max(BODY_LIMIT).apply(&mut request);
    let Ok(body) = Bytes::from_request(request, &()).await else {
        return Answer::TooLarge;
    };
    let changed = match PushBody::read(&body).notification {
        Ok(changed) => changed,
        Err(expected) => return Answer::Malformed(expected),
    };
    if !changed
        .email_address
        .eq_ignore_ascii_case(&watcher.settings.account)
    {
        return Answer::NothingNew;
    }
    let looked = watcher.notified(changed.history_id).await;
    if let Err(error) = &looked {
        warn!(
            history.id = %changed.history_id, error = error as &dyn std::error::Error,
            "Could not bring what is new up to {}", changed.history_id
        );
    }
    looked.into()
}
