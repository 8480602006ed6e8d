//! The platform says that a user has changed.

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use postbell_core::UserId;
use postbell_http::{constant_time_eq, read_body};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{Edge, Refusal};
use crate::directory::KEY_HEADER;

/// The longest body: a user id.
const BODY_LIMIT: usize = 1024;

/// The platform, which shows the key that this relay shows it.
pub(super) struct ThePlatform;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    user_id: UserId,
}

impl FromRequestParts<Edge> for ThePlatform {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Refusal> {
        let key = edge.parts().api_key.as_ref();
        let shown = parts.headers.get(KEY_HEADER);
        let is_right = key
            .zip(shown)
            .is_some_and(|(key, shown)| constant_time_eq(key.expose_secret(), shown));
        if is_right {
            Ok(Self)
        } else {
            Err(Refusal::Unauthenticated("expected the platform's key"))
        }
    }
}

/// Forgets what the directory said of a user: the next question is asked anew.
pub(super) async fn forget(
    _: ThePlatform,
    State(edge): State<Edge>,
    body: Body,
) -> Result<StatusCode, Refusal> {
    const EXPECTED: Refusal = Refusal::Unreadable("expected a JSON object with userId");
    let body = read_body(body, BODY_LIMIT).await?;
    let Changed { user_id } = serde_json::from_slice(&body).map_err(|_| EXPECTED)?;
    edge.parts().recall.forget(&user_id);
    Ok(StatusCode::NO_CONTENT)
}
