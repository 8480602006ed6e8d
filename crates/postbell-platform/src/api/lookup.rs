//! Whose an address or a machine is.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::extract::State;
use axum::http::request::Parts;
use postbell_core::{EmailAddress, SandboxId, UserId};
use postbell_protocol::api::{FoundUser, Problem};
use postbell_protocol::routes;

use super::Platform;
use super::auth::{Internal, query};
use super::error::ApiError;

/// The address that the URL asks about.
pub(super) struct ByEmail(EmailAddress);

/// The machine that the URL asks about.
pub(super) struct BySandbox(SandboxId);

impl FromRequestParts<Platform> for ByEmail {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Platform) -> Result<Self, ApiError> {
        let email = query(parts, "email").filter(|email| !email.is_empty());
        let email = email.ok_or(ApiError::Invalid("email is required"))?;
        // What is no address is nobody's.
        email.parse().map(Self).map_err(|_| ApiError::NoInstance)
    }
}

impl FromRequestParts<Platform> for BySandbox {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Platform) -> Result<Self, ApiError> {
        let id = query(parts, "sandboxId").filter(|id| !id.is_empty());
        let id = id.ok_or(ApiError::Invalid("sandboxId is required"))?;
        id.parse().map(Self).map_err(|_| ApiError::NoInstance)
    }
}

fn found(user: Option<UserId>) -> Result<Json<FoundUser>, ApiError> {
    let user = user.ok_or(ApiError::NoInstance)?;
    Ok(Json(FoundUser { user_id: user }))
}

/// Whose connected account has an address
#[utoipa::path(
    get,
    path = routes::USER_BY_EMAIL,
    operation_id = "getUserByEmail",
    tag = "relay",
    params(("email" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = FoundUser),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn user_by_email(
    _: Internal,
    State(platform): State<Platform>,
    ByEmail(email): ByEmail,
) -> Result<Json<FoundUser>, ApiError> {
    let user = platform.users().instances.user_by_email(&email).await;
    found(user.map_err(|error| ApiError::of("user-by-email", error))?)
}

/// Whose machine has a sandbox id
#[utoipa::path(
    get,
    path = routes::USER_BY_SANDBOX,
    operation_id = "getUserBySandbox",
    tag = "relay",
    params(("sandboxId" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = FoundUser),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn user_by_sandbox(
    _: Internal,
    State(platform): State<Platform>,
    BySandbox(sandbox_id): BySandbox,
) -> Result<Json<FoundUser>, ApiError> {
    let user = platform.users().instances.user_by_sandbox(&sandbox_id);
    found(
        user.await
            .map_err(|error| ApiError::of("user-by-sandbox", error))?,
    )
}
