//! The check-in of a machine.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use postbell_core::{SandboxId, UserId};
use postbell_http::shown_tokens;
use postbell_protocol::api::{CheckInRequest, Problem};
use postbell_protocol::routes;
use secrecy::{ExposeSecret, SecretString};

use super::Platform;
use super::body::JsonBody;
use super::error::ApiError;
use crate::CheckIn;

/// The tokens that a machine shows. They are not verified yet: the body names the machine.
///
/// KiloClaw's controller sends the gateway token in a header of its own, beside another bearer token.
pub(super) struct MachineTokens(pub(super) Vec<SecretString>);

impl FromRequestParts<Platform> for MachineTokens {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Platform) -> Result<Self, ApiError> {
        let tokens = shown_tokens(&parts.headers, routes::MACHINE_TOKEN);
        if tokens.is_empty() {
            return Err(ApiError::Unauthorized);
        }
        Ok(Self(tokens))
    }
}

/// Records that a machine is running and makes its pending notifications due
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
    MachineTokens(tokens): MachineTokens,
    State(platform): State<Platform>,
    JsonBody(machine): JsonBody<CheckInRequest>,
) -> Result<StatusCode, ApiError> {
    const OPERATION: &str = "checkin";
    let report = machine.mailbox.into();
    let accounts = machine.accounts;
    let accounts = accounts.map(|them| them.into_iter().map(Into::into).collect());
    let sandbox_id = machine.sandbox_id.filter(|id| !id.is_empty());
    let sandbox_id = sandbox_id.ok_or(ApiError::Invalid("sandboxId is required"))?;
    let (user, token) = authenticated(&platform, &sandbox_id, tokens).await?;
    let check_in = CheckIn {
        user,
        sandbox_id,
        token,
        report,
        accounts,
    };
    let updated = platform.users().check_in(&check_in).await;
    updated.map_err(|error| ApiError::from_change(OPERATION, error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the user of a machine, and the token that is the machine's. An unknown machine and a wrong token have the same response.
pub(super) async fn authenticated(
    platform: &Platform,
    sandbox_id: &str,
    tokens: Vec<SecretString>,
) -> Result<(UserId, SecretString), ApiError> {
    let (sandbox_id, token) = verified(platform, sandbox_id, tokens)?;
    let user = platform.users().store.user_by_sandbox(&sandbox_id).await;
    let user = user.map_err(|error| ApiError::from_change("checkin", error))?;
    Ok((user.ok_or(ApiError::Unauthorized)?, token))
}

/// Returns the sandbox id, and the token that is derived from it. A machine may have both, and no user.
pub(super) fn verified(
    platform: &Platform,
    sandbox_id: &str,
    tokens: Vec<SecretString>,
) -> Result<(SandboxId, SecretString), ApiError> {
    let sandbox_id: SandboxId = sandbox_id.parse().map_err(|_| ApiError::Unauthorized)?;
    // The token is checked before the store is read: an unauthenticated client costs no query.
    let gateway_tokens = &platform.parts().gateway_tokens;
    let is_right =
        |token: &SecretString| gateway_tokens.is_token_of(&sandbox_id, token.expose_secret());
    let token = tokens.into_iter().find(is_right);
    let token = token.ok_or(ApiError::Unauthorized)?;
    Ok((sandbox_id, token))
}
