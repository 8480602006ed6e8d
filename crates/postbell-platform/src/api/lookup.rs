//! Finding a user by address or machine.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::extract::State;
use axum::http::request::Parts;
use postbell_core::{EmailAddress, SandboxId, UserId};
use postbell_protocol::api::{FoundUsers, GatewayTokenAnswer, LookedUpUser, LookupAnswer, Problem};
use postbell_protocol::routes;

use super::Platform;
use super::auth::{Internal, UserIdQuery, query};
use super::error::{ApiError, UserErrors};
use super::status::user_status;
use crate::MailboxUsersError;
use crate::directory::{delivery_token, users_by_sandbox};

/// The address in the query.
pub(super) struct ByEmail(EmailAddress);

/// The sandbox id in the query.
pub(super) struct BySandbox(SandboxId);

impl FromRequestParts<Platform> for ByEmail {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Platform) -> Result<Self, ApiError> {
        let email = query(parts, "email").filter(|email| !email.is_empty());
        let email = email.ok_or(ApiError::Invalid("email is required"))?;
        // An invalid address belongs to no user.
        email.parse().map(Self).map_err(|_| ApiError::UnknownUser)
    }
}

impl FromRequestParts<Platform> for BySandbox {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Platform) -> Result<Self, ApiError> {
        let id = query(parts, "sandboxId").filter(|id| !id.is_empty());
        let id = id.ok_or(ApiError::Invalid("sandboxId is required"))?;
        id.parse().map(Self).map_err(|_| ApiError::UnknownUser)
    }
}

fn found(users: Vec<UserId>) -> Result<Json<FoundUsers>, ApiError> {
    let found = FoundUsers::new(users).map(Json);
    found.ok_or(ApiError::UnknownUser)
}

/// Everything that a relay needs of a user
#[utoipa::path(
    get,
    path = routes::LOOKUP,
    operation_id = "lookUp",
    tag = "relay",
    params(("userId" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = LookupAnswer),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
    )
)]
pub(super) async fn look_up(
    _: Internal,
    State(platform): State<Platform>,
    user: Result<UserIdQuery, ApiError>,
) -> Result<Json<LookupAnswer>, ApiError> {
    let user = match user {
        Ok(UserIdQuery(user)) => user,
        // An invalid id belongs to no user.
        Err(ApiError::UnknownUser) => return Ok(Json(LookupAnswer { user: None })),
        Err(error) => return Err(error),
    };
    let record = platform.users().fleet.get(&user).await;
    let record = record.map_err(|error| ApiError::from_change("lookup", error))?;
    let parts = platform.parts();
    let user = record.map(|record| LookedUpUser {
        status: user_status(&record, &[]),
        token: GatewayTokenAnswer {
            gateway_token: delivery_token(&parts.gateway_tokens, &record),
        },
        fresh_for_ms: u64::try_from(parts.lookups_fresh_for.as_millis()).unwrap_or(u64::MAX),
    });
    Ok(Json(LookupAnswer { user }))
}

/// The users to notify of mail in the mailbox with an address
#[utoipa::path(
    get,
    path = routes::USER_BY_EMAIL,
    operation_id = "getUserByEmail",
    tag = "relay",
    params(("email" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = FoundUsers),
        UserErrors,
        (status = SERVICE_UNAVAILABLE, body = Problem, description = "Google does not answer"),
    )
)]
pub(super) async fn user_by_email(
    _: Internal,
    State(platform): State<Platform>,
    ByEmail(email): ByEmail,
) -> Result<Json<FoundUsers>, ApiError> {
    const OPERATION: &str = "user-by-email";
    let users = platform.parts().mailboxes.find(&email).await;
    let users = users.map_err(|error| match error {
        MailboxUsersError::Store(error) => ApiError::from_change(OPERATION, error),
        MailboxUsersError::Google => ApiError::Unavailable {
            operation: OPERATION,
        },
    });
    found(users?)
}

/// The user whose machine has a sandbox id, and the user's further accounts
#[utoipa::path(
    get,
    path = routes::USER_BY_SANDBOX,
    operation_id = "getUserBySandbox",
    tag = "relay",
    params(("sandboxId" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = FoundUsers),
        UserErrors,
    )
)]
pub(super) async fn user_by_sandbox(
    _: Internal,
    State(platform): State<Platform>,
    BySandbox(sandbox_id): BySandbox,
) -> Result<Json<FoundUsers>, ApiError> {
    let users = users_by_sandbox(&*platform.users().store, &sandbox_id).await;
    found(users.map_err(|error| ApiError::from_change("user-by-sandbox", error))?)
}
