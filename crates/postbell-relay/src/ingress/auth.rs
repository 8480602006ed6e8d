//! Authentication of a push's sender. A handler that takes one of these types runs only for
//! authenticated senders, and the body is read only afterwards.

use axum::extract::{FromRequestParts, Path};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use postbell_core::UserId;
use postbell_google::Caller;
use postbell_http::bearer_token;
use serde::de::DeserializeOwned;

use super::{ApiError, Ingress};

/// The answer to a request without a bearer token.
pub(super) const EXPECTED_BEARER: ApiError =
    ApiError::Unauthenticated("expected an authorization header with a bearer token");

const OTHER_ACCOUNT: ApiError =
    ApiError::Forbidden("expected the token of this user's service account");

/// The user whose own subscription sent this push, proven by Google's ID token.
///
/// The token is verified before the directory is asked, so that strangers cost no look-up.
pub(super) struct OwnSubscription(UserId);

/// The user whose push endpoint has a secret URL, proven by the URL token. An ID token is optional,
/// but verified if present.
pub(super) struct SecretUrl(UserId);

/// A service account that pushes for many users. The handler checks it against the user once the
/// body has named the mailbox.
pub(super) struct SharedSubscription {
    account: String,
}

impl FromRequestParts<Ingress> for OwnSubscription {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ingress: &Ingress) -> Result<Self, ApiError> {
        let user = user_id(path(parts, ingress).await?)?;
        Self::authenticate(ingress, user, &parts.headers).await
    }
}

impl OwnSubscription {
    /// Authenticates a push for `user`.
    pub(super) async fn authenticate(
        ingress: &Ingress,
        user: UserId,
        headers: &HeaderMap,
    ) -> Result<Self, ApiError> {
        let caller = verify_user(ingress, headers, &user).await?;
        require_push_account(ingress, &user, &caller.email).await?;
        ingress.check_rate(&user)?;
        Ok(Self(user))
    }
}

impl FromRequestParts<Ingress> for SecretUrl {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ingress: &Ingress) -> Result<Self, ApiError> {
        let (user, token): (String, String) = path(parts, ingress).await?;
        let user = user_id(user)?;
        let key = ingress.parts().url_tokens.as_ref();
        if !key.is_some_and(|key| key.is_token_of(&user, &token)) {
            return Err(ApiError::Forbidden("expected this user's token in the URL"));
        }
        if parts.headers.contains_key(AUTHORIZATION) {
            let caller = verify_user(ingress, &parts.headers, &user).await?;
            let directory = &ingress.parts().directory;
            if directory.is_push_account(&user, &caller.email).await? == Some(false) {
                return Err(OTHER_ACCOUNT);
            }
        }
        ingress.check_rate(&user)?;
        Ok(Self(user))
    }
}

impl FromRequestParts<Ingress> for SharedSubscription {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ingress: &Ingress) -> Result<Self, ApiError> {
        let audience = [&ingress.parts().audience, "/push/gmail"].concat();
        let caller = verify(ingress, &parts.headers, &audience).await?;
        let account = caller.email;
        Ok(Self { account })
    }
}

impl From<OwnSubscription> for UserId {
    fn from(OwnSubscription(user): OwnSubscription) -> Self {
        user
    }
}

impl From<SecretUrl> for UserId {
    fn from(SecretUrl(user): SecretUrl) -> Self {
        user
    }
}

impl SharedSubscription {
    /// Fails if this account may not push for `user`, or if the user is over the rate limit.
    pub(super) async fn authorize(&self, ingress: &Ingress, user: &UserId) -> Result<(), ApiError> {
        require_push_account(ingress, user, &self.account).await?;
        ingress.check_rate(user)
    }
}

/// Fails unless `email` is the service account stored for the user. A valid ID token is not enough:
/// any Google customer can obtain one for any audience.
async fn require_push_account(
    ingress: &Ingress,
    user: &UserId,
    email: &str,
) -> Result<(), ApiError> {
    match ingress
        .parts()
        .directory
        .is_push_account(user, email)
        .await?
    {
        Some(true) => Ok(()),
        Some(false) => Err(OTHER_ACCOUNT),
        None => Err(ApiError::Unwanted),
    }
}

/// Verifies the ID token for a user's endpoint.
async fn verify_user(
    ingress: &Ingress,
    headers: &HeaderMap,
    user: &UserId,
) -> Result<Caller, ApiError> {
    let audience = [
        &ingress.parts().audience,
        "/push/user/",
        &user.url_segment(),
    ]
    .concat();
    verify(ingress, headers, &audience).await
}

/// Verifies the ID token for the endpoint whose URL is `audience`.
async fn verify(
    ingress: &Ingress,
    headers: &HeaderMap,
    audience: &str,
) -> Result<Caller, ApiError> {
    let bearer = bearer_token(headers).ok_or(EXPECTED_BEARER)?;
    let parts = ingress.parts();
    let now = parts.clock.now();
    let caller = parts
        .id_tokens
        .verify(bearer.token(), audience, now)
        .await?;
    if caller.email_verified {
        Ok(caller)
    } else {
        Err(ApiError::Forbidden(
            "expected a token with a verified email",
        ))
    }
}

async fn path<T>(parts: &mut Parts, ingress: &Ingress) -> Result<T, ApiError>
where
    T: DeserializeOwned + Send,
{
    let path = Path::<T>::from_request_parts(parts, ingress).await;
    path.map(|Path(path)| path)
        .map_err(|_| ApiError::NoSuchRoute)
}

fn user_id(text: String) -> Result<UserId, ApiError> {
    UserId::try_from(text).map_err(|_| ApiError::NoSuchRoute)
}
