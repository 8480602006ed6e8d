//! The platform says that a user has changed.

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use postbell_core::UserId;
use postbell_http::{constant_time_eq, read_body};
use postbell_protocol::api::UserRequest;
use postbell_protocol::routes::INTERNAL_API_KEY;
use secrecy::ExposeSecret;

use super::{Edge, Refusal};

/// The longest body: a user id.
const BODY_LIMIT: usize = 1024;

/// The platform, which shows the key that this relay shows it.
pub(super) struct ThePlatform;

impl FromRequestParts<Edge> for ThePlatform {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Refusal> {
        let key = edge.parts().api_key.as_ref();
        let shown = parts.headers.get(INTERNAL_API_KEY);
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
    let request: UserRequest = serde_json::from_slice(&body).map_err(|_| EXPECTED)?;
    let user = request.user_id.and_then(|user| UserId::try_from(user).ok());
    let user = user.ok_or(EXPECTED)?;
    edge.parts().recall.forget(&user);
    Ok(StatusCode::NO_CONTENT)
}
