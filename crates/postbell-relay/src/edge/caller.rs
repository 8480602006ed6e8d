//! Who sent a push. A handler that takes one of these types runs only for authenticated senders,
//! and nothing of the body was read before.

use axum::extract::{FromRequestParts, Path};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use postbell_core::UserId;
use postbell_google::Caller;
use postbell_http::bearer_token;
use serde::de::DeserializeOwned;

use super::{Edge, Refusal};

pub(super) const EXPECTED_BEARER: Refusal =
    Refusal::Unauthenticated("expected an authorization header with a bearer token");
const OTHER_ACCOUNT: Refusal =
    Refusal::Forbidden("expected the token of this user's service account");

/// The user whose own subscription sent this push: Google's token proves it.
///
/// What a stranger can send costs no question to the directory.
pub(super) struct OwnSubscription {
    pub(super) user: UserId,
}

/// The user whose push endpoint has a secret URL, which the sender knows. A token of Google's is
/// checked where there is one.
pub(super) struct SecretUrl {
    pub(super) user: UserId,
}

/// A service account that pushes for many users. Whether it may push for one of them is to be
/// checked once the body has named the mailbox.
pub(super) struct SharedSubscription {
    account: String,
}

impl FromRequestParts<Edge> for OwnSubscription {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Refusal> {
        let user = user_id(path(parts, edge).await?)?;
        let caller = verify(edge, &parts.headers, &own_path(&user)).await?;
        refuse_other_accounts(edge, &user, &caller.email).await?;
        within_rate(edge, &user)?;
        Ok(Self { user })
    }
}

impl FromRequestParts<Edge> for SecretUrl {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Refusal> {
        let (user, token): (String, String) = path(parts, edge).await?;
        let user = user_id(user)?;
        let key = edge.parts().url_tokens.as_ref();
        if !key.is_some_and(|key| key.is_token_of(&user, &token)) {
            return Err(Refusal::Forbidden("expected this user's token in the URL"));
        }
        if parts.headers.contains_key(AUTHORIZATION) {
            let caller = verify(edge, &parts.headers, &own_path(&user)).await?;
            let is_theirs = edge.parts().recall.is_push_account(&user, &caller.email);
            if is_theirs.await? == Some(false) {
                return Err(OTHER_ACCOUNT);
            }
        }
        within_rate(edge, &user)?;
        Ok(Self { user })
    }
}

impl FromRequestParts<Edge> for SharedSubscription {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Refusal> {
        let caller = verify(edge, &parts.headers, "/push/gmail").await?;
        let account = caller.email;
        Ok(Self { account })
    }
}

impl SharedSubscription {
    /// Refuses where this account may not push for `user`.
    pub(super) async fn may_push_for(&self, edge: &Edge, user: &UserId) -> Result<(), Refusal> {
        refuse_other_accounts(edge, user, &self.account).await?;
        within_rate(edge, user)
    }
}

/// Anybody can have Google sign a token: only the service account that is stored for the user says
/// whether this is the right sender.
async fn refuse_other_accounts(edge: &Edge, user: &UserId, email: &str) -> Result<(), Refusal> {
    match edge.parts().recall.is_push_account(user, email).await? {
        Some(true) => Ok(()),
        Some(false) => Err(OTHER_ACCOUNT),
        None => Err(Refusal::NotWanted),
    }
}

pub(super) fn within_rate(edge: &Edge, user: &UserId) -> Result<(), Refusal> {
    let limited = edge.0.users.count(user);
    limited.map_err(|seconds| Refusal::TooFast { seconds })
}

/// Checks Google's token for the endpoint at `path`.
async fn verify(edge: &Edge, headers: &HeaderMap, path: &str) -> Result<Caller, Refusal> {
    let bearer = bearer_token(headers).ok_or(EXPECTED_BEARER)?;
    let parts = edge.parts();
    let audience = format!("{}{path}", parts.audience);
    let now = parts.clock.now();
    let caller = parts
        .id_tokens
        .verify(bearer.token(), &audience, now)
        .await?;
    if caller.email_verified {
        Ok(caller)
    } else {
        Err(Refusal::Forbidden("expected a token with a verified email"))
    }
}

fn own_path(user: &UserId) -> String {
    format!("/push/user/{}", user.url_segment())
}

async fn path<T>(parts: &mut Parts, edge: &Edge) -> Result<T, Refusal>
where
    T: DeserializeOwned + Send,
{
    let path = Path::<T>::from_request_parts(parts, edge).await;
    path.map(|Path(path)| path)
        .map_err(|_| Refusal::NoSuchRoute)
}

fn user_id(text: String) -> Result<UserId, Refusal> {
    UserId::try_from(text).map_err(|_| Refusal::NoSuchRoute)
}
