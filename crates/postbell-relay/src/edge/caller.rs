//! Who sent a push.

use axum::extract::{FromRequestParts, Path};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use postbell_core::UserId;

use super::{Edge, Refusal};

/// The user whose own subscription sent this push: Google's token proves it.
///
/// A handler that takes one runs only for authenticated senders, and nothing of the body was read
/// before. What a stranger can send costs no question to the directory.
pub(crate) struct VerifiedCaller {
    pub(crate) user: UserId,
}

impl FromRequestParts<Edge> for VerifiedCaller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Refusal> {
        let user = user_in_path(parts, edge).await?;
        let audience = format!("{}/push/user/{}", edge.audience, user.url_segment());
        let token = bearer_token(parts)?;
        let caller = edge
            .id_tokens
            .verify(token, &audience, edge.clock.now())
            .await?;
        if !caller.email_verified {
            return Err(Refusal::Forbidden("expected a token with a verified email"));
        }
        let Some(account) = edge.directory.push_account(&user).await? else {
            return Err(Refusal::NotWanted);
        };
        if caller.email != account {
            return Err(Refusal::Forbidden(
                "expected the token of this user's service account",
            ));
        }
        Ok(Self { user })
    }
}

async fn user_in_path(parts: &mut Parts, edge: &Edge) -> Result<UserId, Refusal> {
    let path = Path::<String>::from_request_parts(parts, edge).await;
    let Path(user) = path.map_err(|_| Refusal::NoSuchRoute)?;
    UserId::try_from(user).map_err(|_| Refusal::NoSuchRoute)
}

fn bearer_token(parts: &Parts) -> Result<&str, Refusal> {
    const EXPECTED: Refusal =
        Refusal::Unauthenticated("expected an authorization header with Google's bearer token");
    let header = parts.headers.get(AUTHORIZATION).ok_or(EXPECTED)?;
    let (scheme, token) = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(EXPECTED)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(EXPECTED)
    }
}
