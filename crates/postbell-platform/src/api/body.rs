//! Bodies that come in.

use axum::extract::{FromRequest, Request};
use postbell_core::UserId;
use postbell_http::{BodyError, read_body};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::auth::user;
use super::{ApiError, BODY_LIMIT, Platform};

/// A body of JSON of at most `LIMIT` bytes, whatever the request's content type.
pub(super) struct Body<T, const LIMIT: usize = BODY_LIMIT>(pub(super) T);

/// The user that a request is about.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    #[schema(required = true, value_type = String)]
    user_id: Option<String>,
}

impl Named {
    pub(super) fn user(self) -> Result<UserId, ApiError> {
        user(self.user_id)
    }
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
