//! Bounded JSON bodies.

use axum::extract::{FromRequest, Request};
use postbell_core::UserId;
use postbell_http::{BodyError, read_body};
use postbell_protocol::api::UserRequest;
use serde::de::DeserializeOwned;

use super::auth::user;
use super::{ApiError, BODY_LIMIT, Platform};

/// A JSON body of at most `LIMIT` bytes, whatever the request's content type.
pub(super) struct JsonBody<T, const LIMIT: usize = BODY_LIMIT>(pub(super) T);

/// Returns the user of a request.
pub(super) fn required_user(request: &UserRequest) -> Result<UserId, ApiError> {
    user(request.user_id.clone())
}

impl<T: DeserializeOwned, const LIMIT: usize> FromRequest<Platform> for JsonBody<T, LIMIT> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Platform) -> Result<Self, ApiError> {
        let body = read_body(request.into_body(), LIMIT).await;
        let body = body.map_err(|error| match error {
            BodyError::TooSlow => ApiError::BodyTooSlow,
            BodyError::TooLarge => ApiError::BodyTooLarge,
            BodyError::Incomplete => ApiError::BodyIncomplete,
        })?;
        let malformed = |_| ApiError::Invalid("Malformed JSON body");
        serde_json::from_slice(&body).map(Self).map_err(malformed)
    }
}
