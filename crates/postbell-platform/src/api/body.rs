//! Bodies that come in.

use axum::extract::{FromRequest, Request};
use postbell_core::UserId;
use postbell_http::{BodyError, read_body};
use postbell_protocol::api::UserRequest;
use serde::de::DeserializeOwned;

use super::auth::user;
use super::{ApiError, BODY_LIMIT, Platform};

/// A body of JSON of at most `LIMIT` bytes, whatever the request's content type.
pub(super) struct Body<T, const LIMIT: usize = BODY_LIMIT>(pub(super) T);

/// The user that a request names.
pub(super) fn required_user(request: &UserRequest) -> Result<UserId, ApiError> {
    user(request.user_id.clone())
}

impl<T: DeserializeOwned, const LIMIT: usize> FromRequest<Platform> for Body<T, LIMIT> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Platform) -> Result<Self, ApiError> {
        let body = read_body(request.into_body(), LIMIT).await;
        let body = body.map_err(|error| match error {
            BodyError::TooSlow => ApiError::TooSlow,
            BodyError::TooLarge => ApiError::TooLarge,
            BodyError::Incomplete => ApiError::Incomplete,
        })?;
        let malformed = |_| ApiError::Invalid("Malformed JSON body");
        serde_json::from_slice(&body).map(Self).map_err(malformed)
    }
}
