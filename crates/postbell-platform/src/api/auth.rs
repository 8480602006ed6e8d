//! Who asks, and about whom. A handler that takes one of the first two runs for them alone, and
//! nothing of the request was looked at before.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use postbell_core::UserId;
use postbell_http::{bearer_token, constant_time_eq};
use postbell_protocol::routes::INTERNAL_API_KEY;
use secrecy::ExposeSecret;
use url::form_urlencoded;

use super::{ApiError, Platform};

/// A part of ours, which showed the key.
pub(super) struct Internal;

/// A user's setup tool, which showed the user's token.
pub(super) struct SetupOf(pub(super) UserId);

/// The user that the URL is about.
pub(super) struct About(pub(super) UserId);

impl FromRequestParts<Platform> for Internal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, ApiError> {
        let key = platform.parts().api_key.expose_secret().as_bytes();
        let shown = parts.headers.get(INTERNAL_API_KEY);
        if shown.is_some_and(|shown| constant_time_eq(key, shown)) {
            Ok(Self)
        } else {
            Err(ApiError::Unauthorized)
        }
    }
}

impl FromRequestParts<Platform> for SetupOf {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, ApiError> {
        let bearer = bearer_token(&parts.headers).ok_or(ApiError::Unauthorized)?;
        let now = platform.users().clock.now();
        let shown = platform.parts().user_tokens.verify(bearer.token(), now);
        let (user, added) = shown.ok_or(ApiError::Unauthorized)?;
        let record = platform.users().instances.get(&user).await;
        let record = record.map_err(|error| ApiError::of("authentication", error))?;
        match record {
            // Another one of the same name is somebody else.
            Some(record) if record.created_at != added => Err(ApiError::Unauthorized),
            Some(_) | None => Ok(Self(user)),
        }
    }
}

impl FromRequestParts<Platform> for About {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Platform) -> Result<Self, ApiError> {
        user(query(parts, "userId")).map(Self)
    }
}

/// The user whom a request names. What can be no user's id is nobody's.
pub(super) fn user(named: Option<String>) -> Result<UserId, ApiError> {
    let named = named.filter(|named| !named.is_empty());
    let named = named.ok_or(ApiError::Invalid("userId is required"))?;
    UserId::try_from(named).map_err(|_| ApiError::NoInstance)
}

/// A parameter of the URL's query, the first of that name.
pub(super) fn query(parts: &Parts, name: &str) -> Option<String> {
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
}
