//! A machine reports in.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use postbell_core::{SandboxId, UserId};
use postbell_http::bearer_token;
use postbell_protocol::api::{CheckInRequest, Problem};
use postbell_protocol::routes;
use secrecy::{ExposeSecret, SecretString};

use super::Platform;
use super::body::Body;
use super::error::ApiError;
use crate::CheckIn;

/// Somebody with a token: whether it is the machine's is seen once the body has named it.
pub(super) struct WithToken(SecretString);

impl FromRequestParts<Platform> for WithToken {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Platform) -> Result<Self, ApiError> {
        let bearer = bearer_token(&parts.headers).ok_or(ApiError::Unauthorized)?;
        Ok(Self(bearer.token().into()))
    }
}

/// Notes that a machine is up; what waits for its mailbox becomes due
#[utoipa::path(
    post,
    path = routes::CHECK_IN,
    operation_id = "checkIn",
    tag = "machine",
    request_body = CheckInRequest,
    security(("gatewayToken" = [])),
    responses(
        (status = NO_CONTENT),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
    )
)]
pub(super) async fn check_in(
    WithToken(token): WithToken,
    State(platform): State<Platform>,
    Body(machine): Body<CheckInRequest>,
) -> Result<StatusCode, ApiError> {
    const OPERATION: &str = "checkin";
    let sandbox_id = machine.sandbox_id.filter(|id| !id.is_empty());
    let sandbox_id = sandbox_id.ok_or(ApiError::Invalid("sandboxId is required"))?;
    let user = authenticated(&platform, &sandbox_id, &token).await?;
    let check_in = CheckIn {
        user,
        sandbox_id,
        token,
        watch_expires_at: machine.watch_expires_at,
    };
    let noted = platform.users().check_in(&check_in).await;
    noted.map_err(|error| ApiError::of(OPERATION, error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// The user whose machine this is. An unknown machine and a wrong token are answered alike.
async fn authenticated(
    platform: &Platform,
    sandbox_id: &str,
    shown: &SecretString,
) -> Result<UserId, ApiError> {
    let sandbox_id: SandboxId = sandbox_id.parse().map_err(|_| ApiError::Unauthorized)?;
    // The token says it without the store: a stranger costs no look-up.
    let tokens = &platform.parts().gateway_tokens;
    if !tokens.is_token_of(&sandbox_id, shown.expose_secret()) {
        return Err(ApiError::Unauthorized);
    }
    let user = platform
        .users()
        .instances
        .user_by_sandbox(&sandbox_id)
        .await;
    let user = user.map_err(|error| ApiError::of("checkin", error))?;
    user.ok_or(ApiError::Unauthorized)
}
