//! Bodies that come in.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use postbell_core::UserId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::auth::user;
use super::{ApiError, Platform};
use crate::slow::{Unread, read_body};

/// A body of JSON, whatever the request says that it is.
pub(super) struct Body<T>(pub(super) T);

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

impl<T: DeserializeOwned> FromRequest<Platform> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, platform: &Platform) -> Result<Self, ApiError> {
        let body = read_body(request, platform).await;
        let body = body.map_err(|unread| match unread {
            Unread::TooSlow => ApiError::TooSlow,
            Unread::Rejected(rejection) => match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge,
                _ => ApiError::Incomplete,
            },
        })?;
        let malformed = |_| ApiError::Invalid("Malformed JSON body");
        serde_json::from_slice(&body).map(Self).map_err(malformed)
    }
}
