//! `POST /api/relay/forget`: the platform reports that a user has changed.

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use postbell_core::UserId;
use postbell_http::{constant_time_eq, read_body};
use postbell_protocol::api::UserRequest;
use postbell_protocol::routes::INTERNAL_API_KEY;
use secrecy::ExposeSecret;

use super::{ApiError, Ingress};

/// The largest body: a user id.
const BODY_LIMIT: usize = 1024;

/// The platform, authenticated by the API key that it shares with this relay.
pub(super) struct PlatformCaller;

impl FromRequestParts<Ingress> for PlatformCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ingress: &Ingress) -> Result<Self, ApiError> {
        let key = ingress.parts().api_key.as_ref();
        let shown = parts.headers.get(INTERNAL_API_KEY);
        let is_right = key
            .zip(shown)
            .is_some_and(|(key, shown)| constant_time_eq(key.expose_secret(), shown));
        if is_right {
            Ok(Self)
        } else {
            Err(ApiError::Unauthenticated("expected the platform's key"))
        }
    }
}

/// Removes the user's cached directory answers.
pub(super) async fn forget(
    _: PlatformCaller,
    State(ingress): State<Ingress>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    const EXPECTED: ApiError = ApiError::InvalidBody("expected a JSON object with userId");
    let body = read_body(body, BODY_LIMIT).await?;
    let request: UserRequest = serde_json::from_slice(&body).map_err(|_| EXPECTED)?;
    let user = request.user_id.and_then(|user| UserId::try_from(user).ok());
    ingress.parts().directory.forget(&user.ok_or(EXPECTED)?);
    Ok(StatusCode::NO_CONTENT)
}
