//! Extractors that authenticate a request, and that read the user it is about. A handler that takes
//! [`Internal`] or [`SetupToolUser`] authenticates before it parses anything else.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use postbell_core::{Actor, Timestamp, UserId};
use postbell_http::{bearer_token, constant_time_eq};
use postbell_protocol::routes::INTERNAL_API_KEY;
use secrecy::ExposeSecret;
use url::form_urlencoded;

use super::{ApiError, Platform};
use crate::VerifiedToken;
use crate::operator::digest_of;
use crate::origin::origin;

/// A relay or another internal client, authenticated by the API key; what it changes is recorded.
pub(super) struct Internal(pub(super) Actor);

/// A user's setup tool, authenticated by the user's token.
pub(super) struct SetupToolUser {
    pub(super) user: UserId,
    /// When the user of the token was added.
    pub(super) added: Timestamp,
    /// Whose changes are recorded.
    pub(super) by: Actor,
}

/// The user in the query of the URL.
pub(super) struct UserIdQuery(pub(super) UserId);

impl FromRequestParts<Platform> for Internal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, ApiError> {
        let key = platform.parts().api_key.expose_secret().as_bytes();
        let given = parts.headers.get(INTERNAL_API_KEY);
        if given.is_some_and(|given| constant_time_eq(key, given)) {
            Ok(Self(Actor {
                name: "internal API key".to_owned(),
                origin: origin(parts),
                at: platform.users().clock.now(),
            }))
        } else {
            Err(ApiError::Unauthorized)
        }
    }
}

impl FromRequestParts<Platform> for SetupToolUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, ApiError> {
        let bearer = bearer_token(&parts.headers).ok_or(ApiError::Unauthorized)?;
        let now = platform.users().clock.now();
        let verified = platform.parts().user_tokens.verify(bearer.token(), now);
        let VerifiedToken {
            user,
            added,
            is_stored,
        } = verified.ok_or(ApiError::Unauthorized)?;
        if is_stored {
            let stored = platform
                .parts()
                .api_keys
                .tokens
                .find(digest_of(bearer.token()), now);
            let stored = stored.await;
            let stored = stored.map_err(|error| ApiError::from_change("authentication", error))?;
            stored.ok_or(ApiError::Unauthorized)?;
        }
        let record = platform.users().store.get(&user).await;
        let record = record.map_err(|error| ApiError::from_change("authentication", error))?;
        if record.is_some_and(|record| record.created_at != added) {
            // The token belongs to a former user with the same id.
            return Err(ApiError::Unauthorized);
        }
        if !parts.method.is_safe() {
            let elapsed = platform.users().clock.elapsed();
            let is_allowed = platform.0.changes.take(&user, elapsed);
            is_allowed.then_some(()).ok_or(ApiError::TooMany)?;
        }
        Ok(Self {
            by: Actor {
                name: format!("setup token of {user}"),
                origin: origin(parts),
                at: now,
            },
            user,
            added,
        })
    }
}

impl FromRequestParts<Platform> for UserIdQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Platform) -> Result<Self, ApiError> {
        user(query(parts, "userId")).map(Self)
    }
}

/// Parses a user id. An invalid id belongs to no user.
pub(super) fn user(id: Option<String>) -> Result<UserId, ApiError> {
    let id = id.filter(|id| !id.is_empty());
    let id = id.ok_or(ApiError::Invalid("userId is required"))?;
    UserId::try_from(id).map_err(|_| ApiError::UnknownUser)
}

/// Returns the first query parameter with a name.
pub(super) fn query(parts: &Parts, name: &str) -> Option<String> {
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
}
